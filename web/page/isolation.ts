// The service worker: it keeps the page's files for use without a network, and adds the headers
// COOP and COEP, which static servers do not send and without which there are no threads.

const RELOADED = "slimpose-reloaded";
/** The page goes on without the worker after this time. */
const PATIENCE_MS = 5000;

/** Waits until the service worker has the page; reloads once where that brings threads. */
export async function prepare(): Promise<void> {
  if (!("serviceWorker" in navigator)) return; // not https, or switched off
  try {
    await navigator.serviceWorker.register("service-worker.js");
    await Promise.race([controlled(), wait(PATIENCE_MS)]);
  } catch (error) {
    console.warn("no service worker: one thread, and no use without a network", error);
  }
  const isServed = navigator.serviceWorker.controller !== null;
  if (!crossOriginIsolated && isServed && !sessionStorage.getItem(RELOADED)) {
    sessionStorage.setItem(RELOADED, "1");
    location.reload();
    await new Promise(() => {}); // the page ends here
  }
}

/** Waits until a worker has the page, which is at once after the first visit. */
async function controlled(): Promise<void> {
  const { serviceWorker } = navigator;
  while (!serviceWorker.controller) {
    await new Promise((resolve) => {
      serviceWorker.addEventListener("controllerchange", resolve, { once: true });
    });
  }
}

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
