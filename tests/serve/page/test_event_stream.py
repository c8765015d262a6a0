import pytest

from ivme.ensemble.words import count_words

pytestmark = pytest.mark.browser

STREAM = (
    ": a comment\r\n"
    'event: start\r\ndata: {"words": 1}\r\n\r\n'
    'event: member\ndata: {"name":\ndata: "BERT"}\nid: 7\n\n'
    "event: empty\n\n"
    "data:no space\r\r"
    "event: done\ndata: \U0001f600\n\n"
    "event: cut off\ndata: never dispatched\n"
)
EVENTS = [
    {"event": "start", "data": '{"words": 1}'},
    {"event": "member", "data": '{"name":\n"BERT"}'},
    {"event": "message", "data": "no space"},
    {"event": "done", "data": "\U0001f600"},
]
PARSE = """async chunkings => {
  const { EventParser } = await import("/page/event_stream.js");
  return chunkings.map(chunks => {
    const parser = new EventParser();
    return chunks.flatMap(chunk => parser.feed(chunk));
  });
}"""
READ_BYTES = """async bytes => {
  const { readEvents } = await import("/page/event_stream.js");
  const stream = new ReadableStream({ start(controller) {
    for (const byte of bytes) controller.enqueue(new Uint8Array([byte]));
    controller.close();
  } });
  const events = [];
  for await (const event of readEvents(new Response(stream))) events.push(event);
  return events;
}"""
COUNT = """async texts => {
  const { countCharacters, countWords } = await import("/page/words.js");
  return texts.map(text => [countWords(text), countCharacters(text)]);
}"""


def test_events_are_the_same_wherever_the_stream_is_cut(visit):
    chunkings = [[STREAM[:cut], STREAM[cut:]] for cut in range(len(STREAM) + 1)]
    chunkings.append(list(STREAM))
    assert visit().evaluate(PARSE, chunkings) == [EVENTS] * len(chunkings)


def test_characters_survive_being_cut_into_bytes(visit):
    body = 'event: done\ndata: {"text": "\U0001f469\u200d\U0001f680 şİ"}\n\n'.encode()
    [event] = visit().evaluate(READ_BYTES, list(body))
    assert event == {"event": "done", "data": {"text": "\U0001f469\u200d\U0001f680 şİ"}}


def test_words_and_characters_are_counted_as_the_server_counts_them(visit):
    texts = ["", " ", "one", " one\n\ttwo\u00a0three ", "\U0001f600\U0001f600 x", "a\u0301 \u3000b"]
    expected = [[count_words(text), len(text)] for text in texts]
    assert visit().evaluate(COUNT, texts) == expected
