// A counter for every request. prom-client makes a text of all labels at each call and looks its series up by that; here
// the series is found by the label values themselves, and prom-client is told what was counted when it is asked.
import { Counter, type Registry } from "prom-client";

export interface SeriesCounterOptions<Label extends string> {
  readonly name: string;
  readonly help: string;
  /** At least one. */
  readonly labelNames: readonly Label[];
  readonly registry: Registry;
}

interface Series<Label extends string> {
  readonly labels: Readonly<Record<Label, string>>;
  /** What prom-client has not been told yet. */
  fresh: number;
}

type Level<Label extends string> = Map<string, Level<Label> | Series<Label>>;

export class SeriesCounter<Label extends string> {
  readonly #labelNames: readonly Label[];
  readonly #counter: Counter<Label>;
  /** By the values of the labels, one after the other: as many levels as labels. The values are of closed lists. */
  readonly #root: Level<Label> = new Map();
  readonly #all: Series<Label>[] = [];

  constructor({ name, help, labelNames, registry }: SeriesCounterOptions<Label>) {
    this.#labelNames = labelNames;
    this.#counter = new Counter({
      name,
      help,
      labelNames: [...labelNames],
      registers: [registry],
      collect: () => this.#tell(),
    });
  }

  /** `by`: finite, 0 or more. `values`: one for each label, in the order of their names; the series exists from then on. */
  add(by: number, ...values: readonly string[]): void {
    let level = this.#root;
    const last = values.length - 1;
    for (let at = 0; at < last; at++) {
      const value = values[at] as string;
      let next = level.get(value) as Level<Label> | undefined;
      if (next === undefined) {
        next = new Map();
        level.set(value, next);
      }
      level = next;
    }
    const series = level.get(values[last] as string) as Series<Label> | undefined;
    (series ?? this.#begin(level, values)).fresh += by;
  }

  #begin(level: Level<Label>, values: readonly string[]): Series<Label> {
    const pairs = this.#labelNames.map((name, at) => [name, values[at] as string] as const);
    const labels = Object.fromEntries(pairs) as Record<Label, string>;
    const series = { labels, fresh: 0 };
    level.set(values.at(-1) as string, series);
    this.#all.push(series);
    this.#counter.inc(labels, 0);
    return series;
  }

  #tell(): void {
    for (const series of this.#all) {
      // Infinity, the sum of absurd numbers, would be refused, and with it the whole answer to the scrape.
      if (series.fresh > 0) this.#counter.inc(series.labels, Math.min(series.fresh, Number.MAX_VALUE));
      series.fresh = 0;
    }
  }
}
