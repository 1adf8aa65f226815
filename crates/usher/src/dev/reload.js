// Reloads the page when something else is served than what it was made of.
(() => {
  const { seen } = document.currentScript.dataset;
  const events = new EventSource("/__usher/dev/events");
  events.addEventListener("state", (event) => {
    if (JSON.parse(event.data).seen !== seen) {
      events.close();
      location.reload();
    }
  });
})();
