// The service worker: it keeps the page's files for use without a network, and adds the headers
// COOP and COEP, which static servers do not send and without which there are no threads.

const RELOADED = "slimpose-reloaded";

/** Waits until the service worker has the page; reloads once where that brings threads. */
export async function prepare(): Promise<void> {
  if (!("serviceWorker" in navigator)) return; // not https, or switched off
  try {
    await navigator.serviceWorker.register("service-worker.js");
    await navigator.serviceWorker.ready;
  } catch (error) {
    console.warn("no service worker: one thread, and no use without a network", error);
    return;
  }
  if (!navigator.serviceWorker.controller) {
    await new Promise((resolve) => {
      navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true });
      setTimeout(resolve, 3000);
    });
  }
  if (!crossOriginIsolated && navigator.serviceWorker.controller && !sessionStorage.getItem(RELOADED)) {
    sessionStorage.setItem(RELOADED, "1");
    location.reload();
    await new Promise(() => {}); // the page ends here
  }
}
