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

export interface Health {
  /**
   * Reports a check. A store that can only be read is ok, with the detail `read-only`. `required` stays what it
   * was when it is left out; a new check is not required.
   */
  set(name: string, ok: boolean, detail?: string, required?: boolean): void;
  /** True when every required check is ok and the node is not draining. */
  ready(): boolean;
  /**
   * What /readyz answers, on either listener: 503 for trouble of this node; 404 while it drains, which takes it out of
   * HAProxy's rotation without ending what it is sending (http-check disable-on-404); else 200.
   */
  readiness(): 200 | 404 | 503;
  draining(flag: boolean): void;
  isDraining(): boolean;
  /** The lines of the required checks that fail. */
  failing(): readonly string[];
  /** A line per check: the required ones, draining, then those for information. Carries details: not for clients. */
  report(): readonly string[];
}

export function createHealth(): Health {
  const checks = new Map<string, Check>();
  for (const name of requiredChecks) checks.set(name, { ok: false, detail: "not yet", required: true });
  let draining = false;
  const sound = (): boolean => {
    for (const check of checks.values()) if (check.required && !check.ok) return false;
    return true;
  };
  return {
    set(name, ok, detail, required = checks.get(name)?.required ?? false) {
      checks.set(name, { ok, detail, required });
    },
    ready: () => !draining && sound(),
    readiness() {
      if (!sound()) return 503;
      return draining ? 404 : 200;
    },
    draining(flag) {
      draining = flag;
    },
    isDraining: () => draining,
    failing: () =>
      [...checks].filter(([, { ok, required }]) => required && !ok).map((check) => describe(check)),
    report() {
      const all = [...checks];
      return [
        ...all.filter(([, { required }]) => required).map(describe),
        `draining ${draining ? "yes" : "no"}`,
        ...all.filter(([, { required }]) => !required).map(describe),
      ];
    },
  };
}

/** One line, whatever an error message puts into the detail. */
function describe([name, { ok, detail, required }]: [string, Check]): string {
  const reason = detail === undefined ? "" : `: ${detail.slice(0, maxDetail)}`;
  const line = `${name} ${ok ? "ok" : "failed"}${reason}${required ? "" : " (not required)"}`;
  return line.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]/gu, " ");
}
