// One analysis as plain data, and how each event of the server changes it. Knows no document.

/** Return an analysis of `text` that has just begun, with one row for each name. */
export function startAnalysis(text, kind, names) {
  return {
    text,
    kind,
    startedAt: Date.now(),
    status: "running", // then "done", "stopped" or "failed"
    rows: names.map((name) => ({ name, state: "waiting" })), // then "answered" or "down"
    verdict: null,
    sentences: [],
    durationMs: null,
    problem: null,
  };
}

/** Return the analysis after an event; events of unknown names change nothing. */
export function applyEvent(analysis, { event, data }) {
  const change = CHANGES[event];
  return change === undefined ? analysis : { ...analysis, ...change(analysis, data) };
}

/** Return the analysis after it ended early: "stopped" by the reader or "failed". */
export function endEarly(analysis, status, problem = null) {
  const rows = analysis.rows.map((row) => (row.state === "waiting" ? { ...row, state: "none" } : row));
  return { ...analysis, status, problem, rows };
}

/** Return the number of rows with an answer. */
export const countAnswered = (analysis) =>
  analysis.rows.filter((row) => row.state === "answered").length;

/** Return the word for how sure an answer is: a key of the messages. */
export function certainty(confidence) {
  if (confidence < 0.6) return "unclear";
  if (confidence < 0.75) return "perhaps";
  return confidence < 0.9 ? "probably" : "likely";
}

/** Return the analysis after a single classifier's answer: a row for each label. */
export function applyClassification(analysis, { label, probabilities }, durationMs) {
  const rows = Object.entries(probabilities).map(([name, share]) => ({
    name,
    state: "answered",
    label: name,
    prediction: name,
    share,
    durationMs: null,
  }));
  const verdict = {
    label,
    prediction: label,
    confidence: probabilities[label],
    votes: null,
    voters: null,
    probability: null,
    isCalibrated: false,
    leastWords: null,
    isCached: false,
  };
  return { ...analysis, rows, verdict, status: "done", durationMs };
}

const CHANGES = {
  start: (analysis, { members }) => ({
    rows: members.map((name) => findRow(analysis, name) ?? { name, state: "waiting" }),
  }),
  member: (analysis, answer) =>
    withRow(analysis, {
      name: answer.name,
      state: "answered",
      label: answer.label,
      prediction: String(answer.prediction),
      share: answer.confidence,
      durationMs: answer.duration_ms,
    }),
  member_down: (analysis, { name, reason }) => withRow(analysis, { name, state: "down", reason }),
  ensemble: (analysis, answer) => ({
    verdict: {
      label: answer.label,
      prediction: String(answer.prediction),
      confidence: answer.confidence,
      votes: answer.vote_count,
      voters: answer.total_models,
      probability: answer.probability ?? null,
      isCalibrated: answer.calibrated === true,
      leastWords: answer.too_short ? answer.least_words : null,
      isCached: answer.cached === true,
    },
  }),
  sentences: (analysis, { sentences }) => ({ sentences }),
  done: (analysis, { duration_ms: durationMs }) => ({ status: "done", durationMs }),
};

const findRow = (analysis, name) => analysis.rows.find((row) => row.name === name);

function withRow(analysis, row) {
  if (findRow(analysis, row.name) === undefined) return { rows: [...analysis.rows, row] };
  return { rows: analysis.rows.map((other) => (other.name === row.name ? row : other)) };
}
