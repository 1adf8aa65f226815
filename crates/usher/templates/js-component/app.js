// A function: a component that answers fetch events. Every request meets it as it was built.

const page = (path) => `<!doctype html>
<title>my-function</title>
<h1>Hello from JavaScript</h1>
<p>You asked for ${path.replaceAll("<", "&lt;")}
`;

function answer(request) {
  const { pathname } = new URL(request.url);
  const headers = { "content-type": "text/html; charset=utf-8" };
  return new Response(page(pathname), { headers });
}

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));
