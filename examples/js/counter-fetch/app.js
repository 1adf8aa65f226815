// Counts its own calls in a module's variable, as a fetch event: "1" in every clean area.

let calls = 0;

addEventListener('fetch', (event) => {
  calls += 1;
  event.respondWith(new Response(`${calls}\n`));
});
