// One stream of events for all tabs of a browser: over HTTP/1.1 it opens six
// connections to a server at most, and each stream keeps one. The tab that
// holds the lock reads the stream and tells the others; when it goes, the next
// one gets the lock and goes on after the last event it was told.

import { openStream } from "./event_stream";
import type { Link, Told } from "./event_stream";

type Message = { told: Told } | { link: Link } | { asks: true };
const NAME = "steadyrun-live";

// Ends with the function it returns.
export function joinStream(lastId: () => string, take: (told: Told) => void,
                           setLink: (link: Link) => void): () => void {
  // Browsers give locks to pages over HTTPS and of localhost only.
  if (!navigator.locks || typeof BroadcastChannel === "undefined") {
    return openStream(lastId, take, setLink);
  }
  const channel = new BroadcastChannel(NAME);
  const post = (message: Message) => channel.postMessage(message);
  const leaving = new AbortController();
  let isReader = false;
  let link: Link = "connecting";
  let end = () => {};
  channel.onmessage = ({ data }: MessageEvent<Message>) => {
    if ("asks" in data) {
      if (isReader) post({ link });
    } else if (isReader) {
      // Of the reader before, on its way out.
    } else if ("told" in data) {
      take(data.told);
    } else {
      setLink(data.link);
    }
  };
  post({ asks: true });
  navigator.locks.request(NAME, { signal: leaving.signal }, () => new Promise<void>((done) => {
    isReader = true;
    const close = openStream(lastId,
      (told) => {
        take(told);
        post({ told });
      },
      (now) => {
        link = now;
        setLink(now);
        post({ link });
      });
    end = () => {
      close();
      done();
    };
  })).catch(() => {}); // Left before it got the lock.
  return () => {
    leaving.abort();
    end();
    channel.close();
  };
}
