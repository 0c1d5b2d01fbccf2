// Credentials from a program, by the protocol of docker-credential-helpers: it is run with the argument `get`, reads
// the registry's name from its standard input and prints {"Username", "Secret"} as JSON.
import { execFile } from "node:child_process";
import { isAbsolute } from "node:path";
import type { UpstreamAuth } from "../../config/config.ts";
import type { Clock } from "../../ports/clock.ts";
import { SharedCall } from "../../ports/single-flight.ts";
import { UpstreamError } from "../../ports/upstream.ts";
import { type CredentialSource, Credentials } from "./credentials.ts";

/** Milliseconds the program may take. */
const usualTimeout = 10_000;
/** Bytes it may print. */
const maxOutput = 64 * 1024;
/** What a helper that has no credentials for the registry prints before it fails. */
const notFound = "credentials not found in native keychain";
/** RFC 7617, section 2: no control characters, and no colon in a user name. */
const usableName = /^[^\p{Cc}:]{1,4096}$/u;
const usableSecret = /^\P{Cc}{1,32768}$/u;

export interface HelperOptions {
  /** For messages. */
  readonly upstream: string;
  readonly clock: Clock;
  /** Milliseconds; 10 s when left out. */
  readonly timeout?: number;
}

/**
 * Runs the program when its last answer is older than its lifetime or was refused; once at a time. Whatever goes
 * wrong with it is UpstreamError auth: going on without an account would ask upstream for something else. Nothing
 * the program prints gets into a message.
 */
export class CredentialHelper implements CredentialSource {
  readonly #auth: UpstreamAuth & { kind: "helper" };
  readonly #options: HelperOptions;
  readonly #closing = new AbortController();
  #last: { readonly account: Credentials; readonly at: number } | undefined;
  readonly #asking = new SharedCall<Credentials>();

  constructor(auth: UpstreamAuth & { kind: "helper" }, options: HelperOptions) {
    this.#auth = auth;
    this.#options = options;
  }

  async read(): Promise<Credentials> {
    const last = this.#last;
    const age = last === undefined ? Number.POSITIVE_INFINITY : Math.abs(this.#options.clock() - last.at);
    return last !== undefined && age < this.#auth.lifetime ? last.account : await this.#run();
  }

  async renew({ identity }: Credentials): Promise<Credentials | undefined> {
    const known = this.#last?.account;
    const account = known === undefined || known.identity === identity ? await this.#run() : known;
    return account.identity === identity ? undefined : account;
  }

  /** Ends the program if it runs. */
  close(): void {
    this.#closing.abort();
  }

  #run(): Promise<Credentials> {
    return this.#asking.run(() => this.#ask());
  }

  async #ask(): Promise<Credentials> {
    const { program, registry } = this.#auth;
    const file = isAbsolute(program) ? program : `docker-credential-${program}`;
    const output = await this.#runProgram(file, registry);
    const account = "failure" in output ? output : readAnswer(output.text);
    if (account instanceof Credentials) {
      this.#last = { account, at: this.#options.clock() };
      return account;
    }
    const { upstream } = this.#options;
    throw new UpstreamError("auth", `upstream ${upstream}: its credential helper ${file} ${account.failure}`);
  }

  #runProgram(file: string, input: string): Promise<{ readonly text: string } | Failure> {
    const timeout = this.#options.timeout ?? usualTimeout;
    const { promise, resolve } = Promise.withResolvers<{ readonly text: string } | Failure>();
    const options = {
      timeout,
      maxBuffer: maxOutput,
      killSignal: "SIGKILL",
      signal: this.#closing.signal,
    } as const;
    const child = execFile(file, ["get"], options, (error, stdout) => {
      if (error === null) resolve({ text: stdout });
      else resolve({ failure: failureOf(error, stdout, timeout) });
    });
    // A program that ends without reading its input fails here, too; its exit says why.
    child.stdin?.on("error", () => {});
    child.stdin?.end(input);
    return promise;
  }
}

interface Failure {
  /** Completes "the helper ...". */
  readonly failure: string;
}

function failureOf(
  error: { code?: unknown; killed?: boolean; signal?: unknown },
  stdout: string,
  timeout: number,
) {
  const { code, killed, signal } = error;
  if (code === "ENOENT") return "is not there";
  if (code === "EACCES") return "may not be run";
  if (code === "ERR_CHILD_PROCESS_STDIO_MAXBUFFER") return `printed more than ${maxOutput} bytes`;
  if (stdout.trim() === notFound) return "knows no credentials for the registry";
  if (killed) return `gave no answer in ${timeout} ms`;
  return typeof code === "number" ? `ended with exit code ${code}` : `failed (${String(code ?? signal)})`;
}

function readAnswer(text: string): Credentials | Failure {
  let answer: { readonly Username?: unknown; readonly Secret?: unknown } | null = null;
  try {
    answer = JSON.parse(text);
  } catch {
    // Reported below; the parser's message would quote the answer.
  }
  const { Username: username, Secret: secret } = answer ?? {};
  if (typeof username !== "string" || typeof secret !== "string") {
    return { failure: "printed something else than a user name and a secret in JSON" };
  }
  if (usableName.test(username) && usableSecret.test(secret)) return new Credentials(username, secret);
  return { failure: "printed a user name or a secret that cannot be used" };
}
