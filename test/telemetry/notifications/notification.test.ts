import t from "tap";
import type { RequestEvent } from "../../../src/ports/event.ts";
import { notificationOf } from "../../../src/telemetry/notifications/notification.ts";
import { sampleDigest, sampleEvent } from "../../fixtures/telemetry-samples.ts";

const source = { addr: "cache-1:5000", instanceID: "run-1" };
const content = { digest: sampleDigest, mediaType: "application/octet-stream", size: 1000 };

/** As it is sent: without what is undefined. */
function sent(changes: Partial<RequestEvent>) {
  const notification = notificationOf(
    sampleEvent({ host: "mirror.example.com", content, ...changes }),
    source,
  );
  return notification && JSON.parse(JSON.stringify(notification));
}

t.test("a pull of a blob has every field", async (t) => {
  const { id, ...rest } = sent({});
  t.match(id, /^[0-9a-f-]{36}$/);
  t.same(rest, {
    timestamp: "2026-01-02T03:04:05.698Z",
    action: "pull",
    target: {
      mediaType: "application/octet-stream",
      digest: sampleDigest,
      size: 1000,
      length: 1000,
      repository: "team/app",
      url: `http://mirror.example.com/v2/team/app/blobs/${sampleDigest}`,
    },
    request: {
      id: "req-1",
      addr: "192.0.2.7",
      host: "mirror.example.com",
      method: "GET",
      useragent: "containerd/2.1",
    },
    actor: {},
    source,
  });
  t.not(sent({}).id, id, "every event has an id of its own");
});

t.test("a manifest by tag names the tag, and its URL has the digest and the client's prefix", async (t) => {
  const event = sent({ route: "manifest_tag", reference: "1.0", path: "/hub/v2/team/app/manifests/1.0" });
  t.equal(event.target.tag, "1.0");
  t.equal(event.target.url, `http://mirror.example.com/hub/v2/team/app/manifests/${sampleDigest}`);
});

t.test("a blob whose size came with its last byte; a range of one", async (t) => {
  const unsized = { ...content, size: undefined };
  t.match(sent({ content: unsized, bytesSent: 7 }).target, { size: 7, length: 7 });
  t.match(sent({ status: 206, bytesSent: 7 }).target, { size: 1000 });
  t.notOk("size" in sent({ content: unsized, status: 206, bytesSent: 7 }).target);
});

t.test("what is no complete pull is no event", async (t) => {
  const none: Partial<RequestEvent>[] = [
    { status: 304 },
    { status: 404 },
    { status: 416 },
    { abortedBy: "client" },
    { abortedBy: "upstream" },
    { status: 206, abortedBy: "client" },
    { route: "tags" },
    { route: "ping", repository: undefined },
    { method: "PUT", status: 405 },
  ];
  for (const changes of none) t.equal(sent(changes), undefined, JSON.stringify(changes));
  t.match(sent({ method: "HEAD" }), { action: "pull", request: { method: "HEAD" } });
});

t.test("writes that upstream has taken", async (t) => {
  const path = "/v2/team/app/blobs/uploads/1";
  const mount = sent({
    method: "POST",
    route: "upload",
    path,
    status: 201,
    write: { action: "mount", from: "team/base" },
  });
  t.match(mount, { action: "mount", target: { fromRepository: "team/base", digest: sampleDigest } });
  t.equal(mount.target.url, `http://mirror.example.com/v2/team/app/blobs/${sampleDigest}`);
  const write = { action: "push", from: undefined } as const;
  const push = { method: "PUT", route: "manifest_tag", reference: "1", status: 201, write } as const;
  t.match(sent(push), { action: "push", target: { tag: "1", size: 1000 } });
  t.match(sent({ ...push, abortedBy: "client" }), { action: "push" }, "the client need not have heard of it");
  const deletion = { ...push, method: "DELETE", write: { action: "delete", from: undefined } } as const;
  t.same(sent(deletion).target, { digest: sampleDigest, repository: "team/app", tag: "1" });
  t.same(sent({ ...deletion, content: undefined }).target, { repository: "team/app", tag: "1" });
});

t.test("a caller with a name is the actor", async (t) => {
  t.same(sent({ user: "alice" }).actor, { name: "alice" });
});
