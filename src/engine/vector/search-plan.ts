/**
 * What a vector search costs one way and the other, in microseconds, to take the cheaper. The figures are of one machine
 * (`npm run bench -- vectors` shows them on another); the two ways answer alike, so a wrong guess costs time only.
 */

/** Reading a vector from disk, checking it and comparing it here. */
const SCAN_ROW_US = 1.6;
const SCAN_NUMBER_US = 0.0042;
/** The same with the package, over vectors that are in the index thread's memory. */
const QUEUE_ROW_US = 0.05;
const QUEUE_NUMBER_US = 0.0006;
/** To the thread and back; and for each candidate that the graph is asked for. */
const HOP_US = 150;
const CANDIDATE_US = 1.7;
const CANDIDATE_NUMBER_US = 0.008;

export function scanUs(rows: number, dimension: number): number {
  return rows * (SCAN_ROW_US + dimension * SCAN_NUMBER_US);
}

/** `ranked`: how many of the candidates are looked at with their full vectors; `changed` those that are scanned here. */
export function indexUs(
  candidates: number,
  ranked: number,
  queued: number,
  changed: number,
  dimension: number,
): number {
  return (
    HOP_US +
    candidates * (CANDIDATE_US + dimension * CANDIDATE_NUMBER_US) +
    queued * (QUEUE_ROW_US + dimension * QUEUE_NUMBER_US) +
    scanUs(ranked + changed, dimension)
  );
}
