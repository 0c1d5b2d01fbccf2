// The endpoint where clients get tokens: by GET ("Token Authentication Specification" of CNCF Distribution), or by POST
// ("Oauth2 Token Authentication"; RFC 6749, section 4.3). There are no refresh tokens: they would be passwords that this
// mirror has to keep. A client that has been given none keeps its own password and asks again.
import { basicToken } from "../../gate/basic-credentials.ts";
import type { Gate, NotAdmitted } from "../../gate/gate.ts";
import { readScopes } from "../../gate/token/token-access.ts";
import { basicChallenge, type Failure, fail, failureOfNotAdmitted, failures } from "../error.ts";
import { ClientLeft, type Exchange } from "../exchange.ts";
import { discardBody, unwanted } from "../request-body.ts";

/** Largest form, in bytes. */
const largestForm = 64 * 1024;

/** What a client asks for. */
interface TokenRequest {
  /** The credentials of a login (basic-credentials.ts); undefined for none. */
  readonly login: string | undefined;
  /** The arguments. */
  readonly asked: URLSearchParams;
}

/** Answers a request for a token. `query`: what stands behind the question mark. */
export async function giveToken(exchange: Exchange, gate: Gate, query: string): Promise<void> {
  exchange.findings.route = "token";
  const { method } = exchange.request;
  const isRead = method === "GET" || exchange.isHead;
  if (!isRead && method !== "POST")
    return refuse(exchange, { ...failures.unknownMethod, headers: { allow: "GET, HEAD, POST" } });
  const read = isRead ? readQuery(exchange, query) : await readForm(exchange);
  if (!("asked" in read)) return refuse(exchange, read);
  const { login, asked } = read;
  const service = asked.get("service");
  if (service !== null && service !== gate.tokenService?.service)
    return refuse(exchange, problem("an unknown service"));
  const scopes = asked.getAll("scope").filter((each) => each !== "");
  const access = readScopes(scopes);
  if (access === undefined) return refuse(exchange, problem("more scopes than a token can have"));
  const issued = await gate.issue(login, exchange.client, scopes.length === 0 ? undefined : access);
  if (exchange.closed) throw new ClientLeft();
  if (typeof issued === "string") return refuse(exchange, notIssued(issued));
  const { token, expiresIn, user } = issued;
  exchange.findings.user = user;
  exchange.findings.result = "hit";
  exchange.send(
    200,
    // RFC 6749, section 5.1.
    { "content-type": "application/json", "cache-control": "no-store", pragma: "no-cache" },
    // No `issued_at`: a client whose clock is wrong would take the token for one that has ended.
    JSON.stringify({ token, access_token: token, token_type: "Bearer", expires_in: expiresIn }),
  );
}

function refuse(exchange: Exchange, failure: Failure): void {
  if (exchange.hasBody && !exchange.request.complete) void discardBody(exchange.request, unwanted);
  const headers = { ...failure.headers, ...(exchange.request.complete ? {} : { connection: "close" }) };
  fail(exchange, { ...failure, headers }, "denied");
}

function notIssued(why: NotAdmitted): Failure {
  return failureOfNotAdmitted(why, basicChallenge);
}

function problem(found: string): Failure {
  return { ...failures.badRequest, message: `the request for a token has ${found}` };
}

function readQuery(exchange: Exchange, query: string): TokenRequest | Failure {
  const authorization = exchange.header("authorization");
  const login = basicToken(authorization);
  if (login === undefined && authorization !== undefined) return notIssued("wrong");
  return { login, asked: new URLSearchParams(query) };
}

/** A password in the form is a login, as is one in the header. */
async function readForm(exchange: Exchange): Promise<TokenRequest | Failure> {
  const type = exchange.header("content-type") ?? "";
  if (!/^application\/x-www-form-urlencoded *(?:;|$)/i.test(type)) return problem("no form");
  const text = await readBody(exchange);
  if (text === undefined) return problem("too long a form, or one that does not end");
  const asked = new URLSearchParams(text);
  const [username, password] = [asked.get("username"), asked.get("password")];
  if (asked.get("grant_type") !== "password") return problem("a grant_type other than password");
  if (username === null || password === null || username.includes(":")) return notIssued("wrong");
  return { login: Buffer.from(`${username}:${password}`).toString("base64"), asked };
}

/** All of the body; undefined when it is longer than a form is, or has not come within 30 s. Rejects when the client leaves. */
function readBody(exchange: Exchange): Promise<string | undefined> {
  const { request } = exchange;
  const { promise, resolve, reject } = Promise.withResolvers<string | undefined>();
  const chunks: Buffer[] = [];
  let length = 0;
  const timer = setTimeout(() => end(undefined), unwanted.within).unref();
  const end = (text: string | undefined): void => {
    clearTimeout(timer);
    request.off("data", take);
    resolve(text);
  };
  const take = (chunk: Buffer): void => {
    length += chunk.length;
    if (length > largestForm) end(undefined);
    else chunks.push(chunk);
  };
  request.on("data", take);
  request.on("end", () => end(Buffer.concat(chunks).toString()));
  request.on("error", () => {});
  request.on("close", () => {
    clearTimeout(timer);
    reject(new ClientLeft());
  });
  exchange.proceed();
  return promise;
}
