// The demo's far-away registry: Artifactory's path, basic auth, sample images, all behind a simulated long link.
// Read-only; it answers what distribution-spec calls the pull category, and counts what it sent.
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream/promises";
import { errorBody } from "../oci/error.ts";
import { isSameSecret } from "../ports/secret.ts";
import { type Content, findContent, upstreamPath } from "./content.ts";
import { type LinkOptions, makeLink } from "./link.ts";
import type { SampleRepository } from "./sample-images.ts";

export interface DemoUpstreamOptions {
  readonly repositories: readonly SampleRepository[];
  readonly username: string;
  readonly password: string;
  readonly link: LinkOptions;
}

/** What crossed the link so far: requests of any outcome, and body bytes handed to sockets. */
export interface LinkCounts {
  readonly requests: number;
  readonly bytes: number;
}

export interface DemoUpstream {
  /** Base URL with the path, without `/v2`. */
  readonly url: URL;
  counts(): LinkCounts;
  /** Cuts every connection and closes the listener. Idempotent. */
  stop(): Promise<void>;
}

/** Several times what one mirror opens (64); the next connection is dropped. */
const maxConnections = 512;

/** Listens on a free port of 127.0.0.1. Rejects when it cannot. */
export async function startDemoUpstream(options: DemoUpstreamOptions): Promise<DemoUpstream> {
  const link = makeLink(options.link);
  const stopping = new AbortController();
  const repositories = new Map(options.repositories.map((repository) => [repository.name, repository]));
  const authorized = basicAuthCheck(options.username, options.password);
  const counts = { requests: 0, bytes: 0 };

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    counts.requests += 1;
    await link.roundTrip(stopping.signal);
    const content = authorized(request)
      ? findContent(request.method ?? "", request.url ?? "", request.headers.range, repositories)
      : ({ status: 401, code: "UNAUTHORIZED", message: "a user name and a password are needed" } as const);
    const body = "body" in content ? content.body : Buffer.from(errorBody(content.code, content.message));
    response.writeHead(content.status, { ...headersOf(content), "content-length": body.length });
    if (request.method === "HEAD") {
      response.end();
      return;
    }
    // The bandwidth is the body's: headers do not wait for its first slice.
    response.flushHeaders();
    await pipeline(
      link.carry(body, stopping.signal),
      async function* count(slices) {
        for await (const slice of slices) {
          counts.bytes += slice.length;
          yield slice;
        }
      },
      response,
      { signal: stopping.signal },
    );
  }

  const server = createServer((request, response) => {
    // Only a client that went away or the end of the demo can fail here; neither is reported.
    answer(request, response).catch(() => response.destroy());
  });
  server.maxConnections = maxConnections;
  // Longer than any client keeps an idle connection, so that the client is the one to close it.
  server.keepAliveTimeout = 120_000;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: new URL(`http://127.0.0.1:${port}/${upstreamPath}`),
    counts: () => ({ ...counts }),
    async stop() {
      stopping.abort();
      if (!server.listening) return;
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

function basicAuthCheck(username: string, password: string): (request: IncomingMessage) => boolean {
  const wanted = `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
  return (request) => isSameSecret(request.headers.authorization ?? "", wanted);
}

function headersOf(content: Content): Record<string, string | number> {
  const common = { "docker-distribution-api-version": "registry/2.0" };
  if ("headers" in content) return { ...common, ...content.headers };
  const challenge = content.status === 401 ? { "www-authenticate": 'Basic realm="Artifactory Realm"' } : {};
  return { ...common, ...challenge, "content-type": "application/json" };
}
