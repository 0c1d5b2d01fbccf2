// What this node says about itself. Only the required checks decide whether it takes requests: what is cached is
// served without an upstream and without Redis, so neither may ever take a node out of rotation (docs/design.md, rule 8).

/** Checks that decide readiness. They fail until they are first reported. */
const requiredChecks = ["listening", "store"];

/** Longest detail in a report, in UTF-16 units. */
const maxDetail = 200;

interface Check {
  readonly ok: boolean;
  readonly detail: string | undefined;
  readonly required: boolean;
}

export class Health {
  readonly #checks = new Map<string, Check>(
    requiredChecks.map((name) => [name, { ok: false, detail: "not yet", required: true }]),
  );
  #draining = false;

  /**
   * Reports a check. A store that can only be read is ok, with the detail `read-only`. `required` stays what it
   * was when it is left out; a new check is not required.
   */
  set(name: string, ok: boolean, detail?: string, required?: boolean): void {
    const known = this.#checks.get(name)?.required ?? false;
    this.#checks.set(name, { ok, detail, required: required ?? known });
  }

  /** Leaves out a check that says nothing any more. */
  drop(name: string): void {
    this.#checks.delete(name);
  }

  /** True when every required check is ok and the node is not draining. */
  ready(): boolean {
    return this.readiness() === 200;
  }

  /**
   * What /readyz answers, on either listener: 503 for trouble of this node; 404 while it drains, which takes it out of
   * HAProxy's rotation without ending what it is sending (http-check disable-on-404); else 200.
   */
  readiness(): 200 | 404 | 503 {
    for (const { ok, required } of this.#checks.values()) if (required && !ok) return 503;
    return this.#draining ? 404 : 200;
  }

  draining(flag: boolean): void {
    this.#draining = flag;
  }

  isDraining(): boolean {
    return this.#draining;
  }

  /** The lines of the required checks that fail. */
  failing(): readonly string[] {
    return [...this.#checks]
      .filter(([, { ok, required }]) => required && !ok)
      .map((check) => describe(check));
  }

  /** A line per check: the required ones, draining, then those for information. Carries details: not for clients. */
  report(): readonly string[] {
    const all = [...this.#checks];
    return [
      ...all.filter(([, { required }]) => required).map(describe),
      `draining ${this.#draining ? "yes" : "no"}`,
      ...all.filter(([, { required }]) => !required).map(describe),
    ];
  }
}

/** One line, whatever an error message puts into the detail. */
function describe([name, { ok, detail, required }]: [string, Check]): string {
  const reason = detail === undefined ? "" : `: ${detail.slice(0, maxDetail)}`;
  const line = `${name} ${ok ? "ok" : "failed"}${reason}${required ? "" : " (not required)"}`;
  return line.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]/gu, " ");
}
