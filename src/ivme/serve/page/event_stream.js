// Server-sent events over fetch: EventSource can only GET, and a text does not belong in a URL.

/** Turns chunks of text into events, wherever the chunks were cut. */
export class EventParser {
  #line = "";
  #endedByReturn = false;
  #name = "";
  #data = [];

  /** Return the events that `chunk` completes: a list of {event, data}, data a string. */
  feed(chunk) {
    const events = [];
    for (const line of this.#lines(chunk)) {
      const event = this.#take(line);
      if (event !== null) events.push(event);
    }
    return events;
  }

  *#lines(chunk) {
    // A line ends by \n, \r or \r\n; the two halves of \r\n may come in different chunks.
    if (chunk === "") return;
    const text = this.#endedByReturn && chunk[0] === "\n" ? chunk.slice(1) : chunk;
    this.#endedByReturn = chunk.endsWith("\r");
    const lines = text.split(/\r\n|\r|\n/);
    lines[0] = this.#line + lines[0];
    this.#line = lines.pop();
    yield* lines;
  }

  #take(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return null; // a comment, sent to keep the connection alive
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#name = value;
    if (field === "data") this.#data.push(value);
    return null;
  }

  #dispatch() {
    const event = { event: this.#name || "message", data: this.#data.join("\n") };
    const isEmpty = this.#data.length === 0;
    this.#name = "";
    this.#data = [];
    return isEmpty ? null : event;
  }
}

/** Yield {event, data} of a response as they arrive, data parsed from JSON. */
export async function* readEvents(response) {
  const parser = new EventParser();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    for (const { event, data } of parser.feed(value)) yield { event, data: JSON.parse(data) };
  }
}
