import t from "tap";
import { routeKinds } from "../../../src/ports/event.ts";
import { describeRequest } from "../../../src/telemetry/otel/request-attributes.ts";
import { sampleEvent } from "../../fixtures/telemetry-samples.ts";

t.test("names have the route, never the path", (t) => {
  const names = routeKinds.map((route) => describeRequest(sampleEvent({ route }), true, "http").name);
  t.equal(new Set(names).size, routeKinds.length);
  for (const name of names) t.notMatch(name, "team");
  t.equal(describeRequest(sampleEvent({ method: "BREW", route: "other" }), true, "http").name, "HTTP");
  t.end();
});

t.test(
  "what has failed: this node or upstream, never a client that leaves or asks for what is not there",
  (t) => {
    const failureOf = (changes: Parameters<typeof sampleEvent>[0]) =>
      describeRequest(sampleEvent(changes), true, "https").failure;
    t.equal(failureOf({ status: 200 }), undefined);
    t.equal(failureOf({ status: 404 }), undefined);
    t.equal(failureOf({ status: 502, detail: "upstream unreachable" }), "upstream unreachable");
    t.equal(failureOf({ status: 503, detail: undefined }), "503");
    t.equal(failureOf({ status: 200, abortedBy: "upstream", detail: undefined }), "aborted_by_upstream");
    t.equal(failureOf({ status: 499, abortedBy: "client", ttfbMs: undefined }), undefined);
    t.end();
  },
);

t.test("a process that only passes the answer on says what HTTP shows", (t) => {
  const event = sampleEvent({ host: "[::1]:5000", ttfbMs: 1 });
  const { name, attributes } = describeRequest(event, false, "http");
  t.equal(name, event.method);
  t.match(attributes, { "server.address": "[::1]", "server.port": 5000, "http.response.status_code": 200 });
  t.notOk("entrepot.result" in attributes);
  t.end();
});

t.test(
  "of what the client sends there is its program, the host it asks, its request's id and the path, and no other header",
  (t) => {
    const event = sampleEvent({
      id: "of-the-client",
      user: "alice",
      host: "mirror.example.com:5000",
      path: "/v2/team/app/manifests/1",
      client: "192.0.2.7",
      userAgent: "containerd/2.1",
      detail: "no such tag",
      forwardedFor: "198.51.100.9",
    });
    const { attributes } = describeRequest(event, true, "http");
    t.match(attributes, {
      "user_agent.original": "containerd/2.1",
      "server.address": "mirror.example.com",
      "client.address": "192.0.2.7",
      "url.path": "/v2/team/app/manifests/1",
      "entrepot.request_id": "of-the-client",
      "entrepot.detail": "no such tag",
    });
    for (const other of ["198.51.100.9", "alice"]) t.notMatch(JSON.stringify(attributes), other);
    t.notOk(
      Object.keys(attributes).some((name) => /^http\.request\.header|^url\.query|^(end)?user\./.test(name)),
    );
    t.end();
  },
);
