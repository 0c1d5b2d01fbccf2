// What the span of a request says: OpenTelemetry's conventions for HTTP servers, and ours below `entrepot.`. All of it is in the
// request's event, and as harmless as there; of a query there is nothing.
import type { RequestEvent, RouteKind } from "../../ports/event.ts";
import type { SpanAttributes } from "../../ports/tracing/span.ts";

const routes: Readonly<Record<RouteKind, string | undefined>> = {
  ping: "/v2/",
  token: "/v2/token",
  manifest_tag: "/v2/{name}/manifests/{reference}",
  manifest_digest: "/v2/{name}/manifests/{digest}",
  blob: "/v2/{name}/blobs/{digest}",
  tags: "/v2/{name}/tags/list",
  referrers: "/v2/{name}/referrers/{digest}",
  catalog: "/v2/_catalog",
  upload: "/v2/{name}/blobs/uploads/",
  other: undefined,
};

const methods: ReadonlySet<string> = new Set([
  "CONNECT",
  "DELETE",
  "GET",
  "HEAD",
  "OPTIONS",
  "PATCH",
  "POST",
  "PUT",
  "TRACE",
]);

/** The method for a name or label: the ones everybody knows, or HTTP. */
export function methodName(method: string): string {
  return methods.has(method) ? method : "HTTP";
}

export interface RequestDescription {
  readonly name: string;
  readonly attributes: SpanAttributes;
  /** What has gone wrong here or upstream; undefined: nothing. A client that leaves is no failure. */
  readonly failure: string | undefined;
}

/** `whole` as in RequestSpan. `scheme`: how clients connect. */
export function describeRequest(event: RequestEvent, whole: boolean, scheme: string): RequestDescription {
  const { method, status, abortedBy } = event;
  const host = URL.parse(`${scheme}://${event.host ?? ""}`);
  const name = methodName(method);
  const cut = abortedBy === "upstream" || abortedBy === "node" ? `aborted_by_${abortedBy}` : undefined;
  const answered = event.ttfbMs !== undefined;
  const errorType = cut ?? (answered && status >= 500 ? String(status) : undefined);
  const http: SpanAttributes = {
    "http.request.method": name === "HTTP" ? "_OTHER" : name,
    "http.response.status_code": answered ? status : undefined,
    "http.response.body.size": event.bytesSent,
    "url.scheme": scheme,
    "url.path": event.path,
    "server.address": host?.hostname,
    "server.port": host?.port ? Number(host.port) : undefined,
    "client.address": event.client,
    "user_agent.original": event.userAgent,
    "error.type": errorType,
    "entrepot.request_id": event.id,
    "entrepot.aborted_by": abortedBy,
  };
  if (!whole) return { name, attributes: http, failure: errorType };
  const route = routes[event.route];
  const content = event.content?.digest ?? (event.reference?.includes(":") ? event.reference : undefined);
  return {
    name: route === undefined ? name : `${name} ${route}`,
    attributes: {
      ...http,
      "http.route": route,
      "entrepot.result": event.result,
      "entrepot.source": event.source,
      "entrepot.upstream": event.upstream,
      "entrepot.repository": event.repository,
      "entrepot.reference": event.reference,
      "entrepot.digest": content,
      "entrepot.upstream_status": event.upstreamStatus,
      "entrepot.detail": event.detail,
    },
    failure: errorType === undefined ? undefined : (event.detail ?? errorType),
  };
}
