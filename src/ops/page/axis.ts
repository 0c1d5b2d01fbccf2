// What stands along the axes of the charts. Runs in the browser too.

/**
 * From the least to the largest value to show, 0 included: with a tenth of room, and never so little that marks next to each
 * other would read the same. `least`: what the axis shows of a chart without values.
 */
export function valueRange(min: number, max: number, least: number): [from: number, to: number] {
  return [Math.min(0, min) * 1.1, Math.max(max, least) * 1.1];
}

/** The times of marks, in seconds since the epoch, in UTC as everywhere on the page; with seconds where they are that close. */
export function timeLabels(marks: readonly number[]): string[] {
  const [first = 0, second = 60] = marks;
  const end = second - first < 60 ? 19 : 16;
  return marks.map((seconds) => new Date(seconds * 1000).toISOString().slice(11, end));
}
