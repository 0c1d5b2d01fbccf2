// The heaviest of any number of keys, in fixed memory: the space-saving sketch of Metwally, Agrawal and El Abbadi
// ("Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005). Whatever holds more than
// total / capacity is in it, and `over` bounds by how much a weight may be too high.

export interface TopKey {
  readonly key: string;
  readonly weight: number;
  /** At most this much of `weight` is another key's. */
  readonly over: number;
}

export class TopKeys {
  readonly #capacity: number;
  /** Two generations, so that what was heavy yesterday does not stay on top. */
  #current: Generation;
  #previous: Generation;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#current = new Generation(capacity);
    this.#previous = new Generation(capacity);
  }

  add(key: string, weight: number): void {
    this.#current.add(key, weight);
  }

  /** Begins a new generation and forgets the one before the last. */
  turn(): void {
    this.#previous = this.#current;
    this.#current = new Generation(this.#capacity);
  }

  /** The heaviest `count` of this generation and the last, heaviest first. */
  top(count: number): readonly TopKey[] {
    const sums = new Map<string, TopKey>();
    for (const { key, weight, over } of [...this.#previous.entries(), ...this.#current.entries()]) {
      const sum = sums.get(key);
      sums.set(key, { key, weight: (sum?.weight ?? 0) + weight, over: (sum?.over ?? 0) + over });
    }
    return [...sums.values()].sort((a, b) => b.weight - a.weight).slice(0, count);
  }
}

/** Weights stand apart from their keys: a flood of new names is a scan of 1 KiB each, not of a map. */
class Generation {
  readonly #places = new Map<string, number>();
  readonly #keys: string[] = [];
  readonly #weights: Float64Array;
  readonly #over: Float64Array;

  constructor(capacity: number) {
    this.#weights = new Float64Array(capacity);
    this.#over = new Float64Array(capacity);
  }

  add(key: string, weight: number): void {
    const place = this.#places.get(key) ?? this.#give(key);
    this.#weights[place] = (this.#weights[place] as number) + weight;
  }

  *entries(): Generator<TopKey> {
    for (const [place, key] of this.#keys.entries())
      yield { key, weight: this.#weights[place] as number, over: this.#over[place] as number };
  }

  /** A free place, or that of the lightest key with what it weighs. */
  #give(key: string): number {
    let place = this.#keys.length;
    if (place === this.#weights.length) {
      place = this.#lightest();
      this.#places.delete(this.#keys[place] as string);
      this.#over[place] = this.#weights[place] as number;
    }
    this.#keys[place] = key;
    this.#places.set(key, place);
    return place;
  }

  #lightest(): number {
    const weights = this.#weights;
    let place = 0;
    for (let at = 1; at < weights.length; at++)
      if ((weights[at] as number) < (weights[place] as number)) place = at;
    return place;
  }
}
