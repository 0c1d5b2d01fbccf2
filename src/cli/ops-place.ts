// Where a command finds the ops listener of a running mirror, and what it shows there: a password or a token, from the
// configuration or the environment. Never from the command line, which every user of the machine can read.
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import {
  type ClientRequest,
  request as httpRequest,
  type IncomingMessage,
  type RequestOptions,
} from "node:http";
import { request as httpsRequest } from "node:https";
import { json } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { formatAddress, formatListenPlace } from "../config/address.ts";
import type { Config } from "../config/config.ts";
import { type LoadResult, loadConfig } from "../config/load.ts";
import { formatProblems } from "../config/problem.ts";
import { configVariable } from "../config/settings.ts";
import { type Context, loadFrom } from "./context.ts";
import { trustSystemAuthorities } from "./system-authorities.ts";

export interface OpsPlaceOptions {
  readonly config?: string;
  /** Origin of the mirror's ops listener; that of the configuration when left out. */
  readonly ops?: string;
}

export interface OpsPlace {
  readonly origin: string;
  /** Path of a unix socket it is reached at instead. */
  readonly socket?: string;
  /** PEM of the certificate that is expected there, whatever its names: the mirror's own. Left out: any that is trusted. */
  readonly certificate?: string;
  readonly access: Config["opsAccess"];
  /** Nothing says where it is: it is looked for where a mirror is without settings. */
  readonly guessed?: true;
}

/** Milliseconds for the whole answer. */
const timeout = 15_000;

/** Settings that count without a configuration, and those that count although the address is given on the command line. */
const opsSettings = /^ENTREPOT_OPS_/;
const accessSettings = /^ENTREPOT_OPS_ACCESS_/;

/**
 * The place of --ops, else that of the configuration, else where a mirror is without settings (127.0.0.1:5001). Undefined,
 * and a message on the standard error, when it cannot be known.
 */
export function opsPlace(options: OpsPlaceOptions, context: Context): OpsPlace | undefined {
  const { ops } = options;
  if (ops === undefined) {
    const configured = isConfigured(options.config, context);
    const loaded = configured ? loadFrom(options.config, context) : fromEnvironment(context, opsSettings);
    const place = placeOf(loaded, context);
    return place === undefined || configured ? place : { ...place, guessed: true };
  }
  const origin = /^https?:\/\//.test(ops) ? ops : `http://${ops}`;
  if (!URL.canParse(origin)) {
    context.err(`entrepot: --ops: found ${JSON.stringify(ops)}, expected an address like 127.0.0.1:5001\n`);
    return undefined;
  }
  const loaded =
    options.config === undefined
      ? fromEnvironment(context, accessSettings)
      : loadFrom(options.config, context);
  if (loaded.ok) return { origin: new URL(origin).origin, access: loaded.config.opsAccess };
  context.err(formatProblems(loaded.problems));
  return undefined;
}

/** Whether something says what the configuration is. */
export function isConfigured(option: string | undefined, { env }: Context): boolean {
  const given = [option, env[configVariable.env], env.ENTREPOT_UPSTREAM_URL];
  return given.some((value) => value !== undefined && value !== "");
}

function placeOf(loaded: LoadResult, context: Context): OpsPlace | undefined {
  if (!loaded.ok) {
    context.err(formatProblems(loaded.problems));
    return undefined;
  }
  const { opsListen, opsAccess: access, opsTls } = loaded.config;
  const scheme = opsTls === undefined ? "http" : "https";
  const own = { access, ...(opsTls === undefined ? {} : { certificate: context.readFile(opsTls.certFile) }) };
  if ("path" in opsListen) return { origin: `${scheme}://localhost`, socket: opsListen.path, ...own };
  if (!("host" in opsListen)) {
    context.err(
      `entrepot: opsListen is ${formatListenPlace(opsListen)}: say where it is reached with --ops\n`,
    );
    return undefined;
  }
  const { host, port } = opsListen;
  // The wildcard addresses are for listening only.
  const reachable = host === "0.0.0.0" || host === "" ? "127.0.0.1" : host === "::" ? "::1" : host;
  const address = formatAddress({ host: reachable, port });
  return { origin: `${scheme}://${address}`, ...own };
}

/**
 * What these settings of the environment say of the ops listener. Of the registries, without which there is no
 * configuration, it takes none.
 */
function fromEnvironment({ env, readFile }: Context, settings: RegExp): LoadResult {
  const own = Object.entries(env).filter(([name]) => settings.test(name));
  return loadConfig({
    env: { ...Object.fromEntries(own), ENTREPOT_UPSTREAM_URL: "http://localhost" },
    readFile,
  });
}

const setUpHelp = `Without a configuration a mirror is looked for there. Say where it is:
  --ops ADDRESS, --config FILE, or ENTREPOT_CONFIG in the environment
`;

/** The mirror has answered, and says why it does not tell: what was wrong with the question, or that a login is needed. */
export class OpsRefusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Longest error that is read, in characters. */
const longestError = 64 * 1024;

/**
 * The JSON at a path of the ops listener. A message on the standard error, and undefined, when there is none; without a message
 * when `signal` has ended the waiting.
 */
export async function answerFrom(
  place: OpsPlace,
  path: string,
  context: Context,
  patience?: number,
  signal?: AbortSignal,
): Promise<unknown> {
  try {
    return await askOps(place, path, patience, undefined, signal);
  } catch (error) {
    if (signal?.aborted) return undefined;
    context.err(`entrepot: ${noAnswer(error, place)}\n`);
    if (place.guessed && !(error instanceof OpsRefusal)) context.err(setUpHelp);
    return undefined;
  }
}

/** Why `askOps` has rejected, for people. */
export function noAnswer(error: unknown, { socket, origin }: OpsPlace): string {
  if (error instanceof OpsRefusal) return error.message;
  const { cause = error } = error as Error;
  return `no mirror answers at ${socket ?? origin} (${(cause as Error).message})`;
}

/** A question that changes something. */
export interface OpsChange {
  readonly method: "POST" | "DELETE";
  readonly body?: object;
}

/**
 * The JSON at a path of the ops listener. Rejects with why there is none: with OpsRefusal when the mirror has said so. `patience`:
 * milliseconds for the whole answer, where it may take longer than usual. `signal` ends the waiting.
 */
export async function askOps(
  place: OpsPlace,
  path: string,
  patience = timeout,
  change?: OpsChange,
  signal?: AbortSignal,
): Promise<unknown> {
  const headers = change === undefined ? {} : { "content-type": "application/json" };
  const limit = AbortSignal.any([AbortSignal.timeout(patience), ...(signal === undefined ? [] : [signal])]);
  const request = await opsRequest(place, path, { method: change?.method ?? "GET", headers, signal: limit });
  const body = change?.body === undefined ? undefined : JSON.stringify(change.body);
  const [answer] = (await once(request.end(body), "response")) as [IncomingMessage];
  return await answered(place, request, answer);
}

/** Characters of the metrics that are looked through. */
const longestMetrics = 4 * 1024 * 1024;

/** Whether the metrics there, which need no login and are shown none, are a mirror's. `patience` as of askOps. Never rejects. */
export async function isMirror(place: OpsPlace, patience: number): Promise<boolean> {
  try {
    const signal = AbortSignal.timeout(patience);
    const request = await opsRequest({ ...place, access: undefined }, "/metrics", { method: "GET", signal });
    const [answer] = (await once(request.end(), "response")) as [IncomingMessage];
    let text = "";
    if (answer.statusCode === 200)
      for await (const chunk of answer.setEncoding("utf8") as AsyncIterable<string>) {
        text += chunk;
        if (text.length > longestMetrics) break;
      }
    answer.destroy();
    return /^entrepot_/m.test(text);
  } catch {
    return false;
  }
}

/** Bytes that are brought to a mirror. */
export interface OpsUpload {
  readonly type: string;
  readonly size: number;
  /** Read once. */
  readonly bytes: AsyncIterable<Buffer>;
}

/** Milliseconds in which no byte of an upload is taken, and for its answer: it may have to be written to a slow disk. */
const uploadPatience = 300_000;

/** As askOps, by PUT. Rejects as `bytes` does, too. */
export async function uploadToOps(
  place: OpsPlace,
  path: string,
  { type, size, bytes }: OpsUpload,
  signal: AbortSignal,
): Promise<unknown> {
  const headers = { "content-type": type, "content-length": size, "x-entrepot-request": "import" };
  const request = await opsRequest(place, path, { method: "PUT", headers, signal });
  request.setTimeout(uploadPatience, () => request.destroy(new Error("it takes nothing more")));
  const answering = once(request, "response") as Promise<[IncomingMessage]>;
  const sending = pipeline(bytes, request);
  // A mirror that refuses says why before it has read everything.
  const [answer] = await Promise.race([answering, sending.then(() => answering)]).catch(
    async (error: unknown) => {
      // The answer may be on its way when the connection is found closed.
      const late = isBroken(error) ? await settled(answering) : undefined;
      if (late === undefined) throw error;
      return late;
    },
  );
  sending.catch(() => {});
  return await answered(place, request, answer);
}

function isBroken(error: unknown): boolean {
  return ["EPIPE", "ECONNRESET"].includes((error as NodeJS.ErrnoException).code ?? "");
}

async function settled<Value>(promise: Promise<Value>): Promise<Value | undefined> {
  const [result] = await Promise.allSettled([promise]);
  return result.status === "fulfilled" ? result.value : undefined;
}

async function opsRequest(
  { origin, socket, access, certificate }: OpsPlace,
  path: string,
  options: RequestOptions,
): Promise<ClientRequest> {
  const authorization = await authorizationOf(access);
  const all: RequestOptions = {
    ...options,
    headers: { ...options.headers, ...(authorization === undefined ? {} : { authorization }) },
    agent: false,
    ...(socket === undefined ? {} : { socketPath: socket }),
  };
  const url = new URL(path, origin);
  return url.protocol === "https:" ? overTls(url, all, certificate) : httpRequest(url, all);
}

async function answered(place: OpsPlace, request: ClientRequest, answer: IncomingMessage): Promise<unknown> {
  const { origin, socket } = place;
  const { statusCode: status = 0 } = answer;
  if (status === 200 || status === 201) return await json(answer);
  const said = await errorOf(answer);
  answer.destroy();
  if (status === 401) throw new OpsRefusal(status, loginNeeded(place, request.hasHeader("authorization")));
  if (said !== undefined) throw new OpsRefusal(status, said);
  if (status === 403)
    throw new OpsRefusal(status, `the mirror at ${socket ?? origin} refuses it (status 403)`);
  throw new Error(`status ${status}`);
}

function loginNeeded({ origin, socket }: OpsPlace, hasShown: boolean): string {
  const at = socket ?? origin;
  const what = hasShown
    ? `the mirror at ${at} does not take the password or token it was shown`
    : `the mirror at ${at} needs a login`;
  return `${what}: set ENTREPOT_OPS_ACCESS_PASSWORD_FILE or ENTREPOT_OPS_ACCESS_TOKEN_FILE to a file with that of its opsAccess, or name its configuration with --config`;
}

/** What an error of the API says; undefined for what is none. */
async function errorOf(answer: IncomingMessage): Promise<string | undefined> {
  let body = "";
  for await (const chunk of answer.setEncoding("utf8") as AsyncIterable<string>) {
    body += chunk;
    if (body.length > longestError) break;
  }
  try {
    const { error } = JSON.parse(body) as { error?: { message?: unknown } };
    if (typeof error?.message === "string") return error.message;
  } catch {
    // Not of this API.
  }
  return undefined;
}

function overTls(url: URL, options: RequestOptions, certificate: string | undefined): ClientRequest {
  if (certificate === undefined) {
    trustSystemAuthorities();
    return httpsRequest(url, options);
  }
  // It need not have the name it is asked by here: nobody else has its key. Of a chain only the first is meant.
  const ca = new X509Certificate(certificate).toString();
  const own = { ca, allowPartialTrustChain: true, checkServerIdentity: () => undefined };
  return httpsRequest(url, { ...options, ...own });
}

async function authorizationOf(access: Config["opsAccess"]): Promise<string | undefined> {
  if (access?.token !== undefined) return `Bearer ${(await access.token.read()).reveal()}`;
  if (access?.password === undefined) return undefined;
  const password = (await access.password.read()).reveal();
  return `Basic ${Buffer.from(`${access.username ?? "entrepot"}:${password}`).toString("base64")}`;
}
