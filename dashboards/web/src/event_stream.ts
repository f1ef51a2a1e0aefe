// The server's stream of events, opened again whenever it breaks.

export type Link = "connecting" | "live" | "lost";
export interface Told { name: string; data: string; id: string; }

const NAMES = ["run", "changed", "resync"];
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;

// Goes on after the event that `lastId` names, as far as the server still has
// what came then; empty: from now on. Ends with the function it returns.
export function openStream(lastId: () => string, take: (told: Told) => void,
                           setLink: (link: Link) => void): () => void {
  let source: EventSource | null = null;
  let wait = FIRST_WAIT_MS;
  let retry = 0;
  let wasLost = false;
  const open = () => {
    const last = lastId();
    source = new EventSource("/api/v1/events" + (last ? "?last=" + encodeURIComponent(last) : ""));
    source.onopen = () => {
      wait = FIRST_WAIT_MS;
      setLink("live");
      // Without an id to go on from, what was missed cannot be told again.
      if (wasLost && !last) take({ name: "resync", data: "", id: "" });
      wasLost = false;
    };
    source.onerror = () => {
      source?.close();
      setLink("lost");
      wasLost = true;
      retry = window.setTimeout(open, wait * (0.75 + Math.random() / 2));
      wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    };
    for (const name of NAMES) {
      source.addEventListener(name, (event) =>
        take({ name, data: event.data, id: event.lastEventId }));
    }
  };
  open();
  return () => {
    clearTimeout(retry);
    source?.close();
  };
}
