/* The same handler, a process for each request by CGI. */
#include "handler.h"

int main(void)
{
	char body[BODY_MAX];
	const char *query = getenv("QUERY_STRING");
	int length = handle(query ? query : "", body);
	printf("Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n%.*s", length, length, body);
	return 0;
}
