// What waits for an endpoint: a ring that forgets its oldest for a new one.

export class NotificationQueue<Item> {
  readonly #items: (Item | undefined)[];
  /** How many have ever left, and ever come. */
  #first = 0;
  #end = 0;

  /** Holds `limit` items at most. */
  constructor(limit: number) {
    this.#items = new Array<Item | undefined>(limit);
  }

  get length(): number {
    return this.#end - this.#first;
  }

  /** False when the oldest had to go for it. */
  push(item: Item): boolean {
    const full = this.length === this.#items.length;
    if (full) this.#first++;
    this.#items[this.#end++ % this.#items.length] = item;
    return !full;
  }

  /** The oldest, `most` of them at most, and the mark to take them off with. They stay. */
  oldest(most: number): { readonly items: readonly Item[]; readonly mark: number } {
    const mark = Math.min(this.#end, this.#first + most);
    const items: Item[] = [];
    for (let at = this.#first; at < mark; at++) items.push(this.#items[at % this.#items.length] as Item);
    return { items, mark };
  }

  /** Takes off everything up to the mark and tells how many of it were still here. */
  takeOff(mark: number): number {
    const count = Math.max(0, mark - this.#first);
    for (; this.#first < mark; this.#first++) this.#items[this.#first % this.#items.length] = undefined;
    return count;
  }
}
