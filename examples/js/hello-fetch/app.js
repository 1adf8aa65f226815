// Greets, as a fetch event.

addEventListener('fetch', (event) => event.respondWith(new Response('Hello from JavaScript\n')));
