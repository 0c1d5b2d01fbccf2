import t from "tap";
import { headersToClient, headersToUpstream } from "../../../src/http/push/forwarded-headers.ts";

const via = "1.1 entrepot-test";

t.test("to upstream: what describes the request, and nothing else", async (t) => {
  const sent = {
    host: "mirror.example.com",
    authorization: "Basic x",
    "proxy-authorization": "Basic x",
    cookie: "a=b",
    expect: "100-continue",
    "transfer-encoding": "chunked",
    trailer: "x",
    "content-type": "application/octet-stream",
    "content-range": "0-9",
    "user-agent": "docker",
    "x-anything": "1",
  };
  const described = { "content-type": "application/octet-stream", "content-range": "0-9" };
  const always = { "accept-encoding": "identity", "user-agent": "docker", via };
  t.strictSame(
    headersToUpstream(sent, { body: "sent", via }),
    { ...always, ...described },
    "a chunked body stays chunked",
  );
  t.strictSame(headersToUpstream({ ...sent, "content-length": "10" }, { body: "sent", via }), {
    ...always,
    ...described,
    "content-length": "10",
  });
  t.strictSame(
    headersToUpstream({ ...sent, "content-length": "10" }, { body: "none", via }),
    always,
    "no body, no length",
  );
});

t.test("what Connection names goes no further, except the length, which is the body's", async (t) => {
  const sent = {
    connection: "keep-alive, Content-Type ,user-agent,content-length",
    "content-type": "a/b",
    "user-agent": "x",
    "content-length": "10",
  };
  t.strictSame(headersToUpstream(sent, { body: "sent", via }), {
    "accept-encoding": "identity",
    "content-length": "10",
    via,
  });
});

t.test("to the client: never a cookie, a challenge, or what upstream says of itself", async (t) => {
  const told = headersToClient({
    "content-type": "application/json",
    "docker-content-digest": "sha256:x",
    "oci-subject": "sha256:y",
    range: "0-9",
    location: "https://registry.example.com/",
    "www-authenticate": `Bearer realm="x"`,
    "set-cookie": ["a=b"],
    "x-registry-supports-signatures": "1",
    "docker-distribution-api-version": "registry/2.0, x",
    connection: "close",
    server: "nginx",
    link: "<x>",
  });
  t.strictSame(told, {
    "docker-distribution-api-version": "registry/2.0",
    "content-type": "application/json",
    "docker-content-digest": "sha256:x",
    "oci-subject": "sha256:y",
    range: "0-9",
  });
  t.throws(() => headersToClient({ "content-encoding": "gzip" }), { code: "protocol" });
});
