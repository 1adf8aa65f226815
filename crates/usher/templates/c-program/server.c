/* A function: a server on $PORT. Every request meets it as it was before its first one. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_MAX_BYTES = 16384 };

static const char page[] = "<!doctype html>\n<title>my-function</title>\n<h1>Hello from C</h1>\n";

static void answer(int client) {
    char head[HEAD_MAX_BYTES + 1];
    size_t length = 0;
    do {
        ssize_t got = read(client, head + length, HEAD_MAX_BYTES - length);
        if (got <= 0) return;
        head[length += (size_t)got] = 0;
    } while (!strstr(head, "\r\n\r\n") && length < HEAD_MAX_BYTES);
    dprintf(client,
            "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: %zu\r\n"
            "connection: close\r\n\r\n%s",
            sizeof page - 1, page);
}

int main(void) {
    const char *port = getenv("PORT");
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((unsigned short)atoi(port ? port : "8080")),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) {
        perror("listening at $PORT");
        return 1;
    }
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0) continue;
        answer(client);
        close(client);
    }
}
