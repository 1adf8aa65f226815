/* The C program: HTTP/1.1 on $PORT, a thread for each connection, requests without bodies. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "handler.h"

#define HEAD_MAX 8192
#define BACKLOG 128

/* Answers the request whose head stands in `head`; 0 if that cannot be done. */
static int answer(int connection, char *head)
{
	char body[BODY_MAX], reply[512];
	char *target = strchr(head, ' ');
	char *end = target ? strchr(target + 1, ' ') : NULL;
	if (!end)
		return 0;
	*end = 0;
	char *query = strchr(target, '?');
	int length = handle(query ? query + 1 : "", body);
	int size = snprintf(reply, sizeof reply,
		"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%.*s",
		length, length, body);
	return write(connection, reply, size) == size;
}

static void *serve(void *argument)
{
	int connection = (int)(intptr_t)argument;
	char head[HEAD_MAX];
	size_t used = 0;
	for (;;) {
		ssize_t got = read(connection, head + used, sizeof head - 1 - used);
		if (got <= 0)
			break;
		used += got;
		head[used] = 0;
		if (used >= 4 && strcmp(head + used - 4, "\r\n\r\n") == 0) {
			if (!answer(connection, head))
				break;
			used = 0;
		}
	}
	close(connection);
	return NULL;
}

int main(void)
{
	const char *port = getenv("PORT");
	int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port ? atoi(port) : 0),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	signal(SIGPIPE, SIG_IGN);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, BACKLOG)) {
		perror("listening at $PORT");
		return 1;
	}
	for (;;) {
		int connection = accept(listener, NULL, NULL);
		if (connection < 0)
			continue;
		pthread_t thread;
		setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
		if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)connection) == 0)
			pthread_detach(thread);
		else
			close(connection);
	}
}
