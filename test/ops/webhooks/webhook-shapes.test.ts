import t from "tap";
import { readWebhook, type WebhookEvent } from "../../../src/ops/webhooks/webhook-shapes.ts";
import { type WebhookSource, webhookSources } from "../../../src/ports/event.ts";
import { sampleDigest as digest } from "../../fixtures/telemetry-samples.ts";
import { deleteBodies, pushBodies } from "../../fixtures/webhook-bodies.ts";

const pushed = { repository: "team/app", tag: "1.0", digest };

/** Without what is undefined. */
function events(source: WebhookSource, json: unknown) {
  return readWebhook(source, json)?.map(
    (event) => JSON.parse(JSON.stringify(event)) as Partial<WebhookEvent>,
  );
}

t.test("a push and a delete in each sender's words", async (t) => {
  for (const source of webhookSources) {
    t.match(events(source, pushBodies[source](pushed)), [
      { what: "confirm", repository: "team/app", tag: "1.0" },
    ]);
    const deletion = deleteBodies[source]?.(pushed);
    if (deletion !== undefined)
      t.match(events(source, deletion), [{ what: "drop", repository: "team/app", tag: "1.0" }], source);
  }
});

t.test("an envelope: many events, of which pulls and strange ones are passed over", async (t) => {
  const target = { repository: "team/app", digest };
  const envelope = {
    events: [
      { id: "1", action: "pull", target },
      { id: "2", action: "delete", target },
      { id: "3", action: "push", target: { ...target, tag: "a" } },
      { id: "4", action: "push" },
      "nonsense",
      { action: "push", target: { repository: "team/app", tag: 7, digest } },
    ],
  };
  t.same(events("distribution", envelope), [
    { id: "2", what: "drop", repository: "team/app", digest },
    { id: "3", what: "confirm", repository: "team/app", tag: "a", digest },
    { what: "confirm", repository: "team/app", digest },
  ]);
  t.same(events("distribution", { events: [] }), []);
});

t.test("Artifactory: its own repository, and files of domain artifact", async (t) => {
  const of = (type: string, path: string) =>
    events("artifactory", { domain: "artifact", event_type: type, data: { repo_key: "docker-local", path } });
  const storage = "docker-local";
  t.same(of("deployed", "team/app/1.0/manifest.json"), [
    { what: "confirm", storage, repository: "team/app", tag: "1.0" },
  ]);
  t.same(of("deleted", `team/app/${digest.replace(":", "__")}/list.manifest.json`), [
    { what: "drop", storage, repository: "team/app", digest },
  ]);
  t.match(of("moved", "app/2/manifest.json"), [{ what: "confirm", repository: "app", tag: "2" }]);
  t.same(of("deployed", "team/app/1.0/sha256__aa"), [], "a layer");
  t.same(of("downloaded", "team/app/1.0/manifest.json"), []);
  t.same(events("artifactory", { domain: "build", event_type: "uploaded", data: { repo_key: "x" } }), []);
});

t.test("Harbor: several resources, other types, CloudEvents", async (t) => {
  const data = {
    resources: [{ digest, tag: "a" }, { digest, tag: "b" }, { digest }],
    repository: { repo_full_name: "team/app" },
  };
  const three = [{ tag: "a" }, { tag: "b" }, { digest }];
  t.match(events("harbor", { type: "PUSH_ARTIFACT", event_data: data }), three);
  t.match(events("harbor", { specversion: "1.0", id: "1", type: "harbor.artifact.pushed", data }), three);
  t.match(events("harbor", { id: "1", type: "harbor.artifact.deleted", data }), [{ what: "drop" }, {}, {}]);
  t.same(events("harbor", { type: "SCANNING_COMPLETED", event_data: {} }), []);
  t.equal(events("harbor", { type: "PUSH_ARTIFACT", event_data: {} }), undefined);
});

t.test("Quay, also as it was; the generic form", async (t) => {
  const tags = (updated: unknown) =>
    events("quay", { repository: "team/app", updated_tags: updated })?.map(({ tag }) => tag);
  t.same(tags(["a", "b"]), ["a", "b"]);
  t.same(tags({ a: "id1", b: "id2" }), ["a", "b"]);
  t.same(events("generic", { id: "1", upstream: "hub", repository: "a", digest, action: "delete" }), [
    { id: "1", what: "drop", upstream: "hub", repository: "a", digest },
  ]);
});

t.test("anything else is unknown", async (t) => {
  const strange = [undefined, null, 7, "text", [], {}, { events: 1 }, { repository: {} }, { action: "push" }];
  for (const source of webhookSources)
    for (const json of strange) t.equal(events(source, json), undefined, `${source} ${JSON.stringify(json)}`);
});
