import t from "tap";
import type { Repository, Tag } from "../../../src/oci/name.ts";
import type { Scope } from "../../../src/ports/scope.ts";
import { RedisKeys } from "../../../src/storage/redis/keys.ts";

const hub = { name: "hub", url: new URL("https://registry.example.com"), repositoryPrefix: "" };
const app: Scope = { upstream: "hub", repository: "team/app" as Repository };

t.test("everything of a repository is in one slot of a Cluster", (t) => {
  const keys = new RedisKeys("site:", 0, [hub]);
  const inBraces = (key: string) => /^site:\{([^{}]+)\}:/.exec(key)?.[1];
  const links = inBraces(keys.links(app));
  t.match(links, /^hub@[0-9a-f]{12}\/team\/app$/);
  t.equal(inBraces(keys.tag(app, "latest" as Tag)), links);
  t.end();
});

t.test("an upstream is its name and its address", (t) => {
  const id = (changes: Partial<typeof hub>) =>
    new RedisKeys("", 0, [{ ...hub, ...changes }]).upstream(changes.name ?? "hub");
  const ids = [
    id({}),
    id({ name: "hub2" }),
    id({ url: new URL("https://registry.example.com/path") }),
    id({ url: new URL("http://registry.example.com") }),
    id({ repositoryPrefix: "docker-local" }),
  ];
  t.equal(new Set(ids).size, ids.length);
  t.equal(id({}), ids[0], "the same on every node");
  const keys = new RedisKeys("", 0, [hub]);
  t.equal(keys.nameOf(keys.upstream("hub")), "hub");
  t.equal(keys.nameOf("hub@0123456789ab"), undefined);
  t.throws(() => keys.upstream("other"), RangeError);
  t.end();
});

t.test("upstreams that are added, changed and removed", (t) => {
  const keys = new RedisKeys("", 0, [hub]);
  const before = keys.upstream("hub");
  const moved = { ...hub, url: new URL("https://other.example.com") };
  keys.use([moved, { ...hub, name: "new" }]);
  t.not(keys.upstream("hub"), before);
  t.equal(keys.nameOf(before), undefined, "what others say of the registry of before is not meant");
  t.equal(keys.nameOf(keys.upstream("new")), "new");
  keys.use([hub]);
  t.equal(keys.nameOf(keys.upstream("new")), undefined);
  t.match(keys.upstream("new"), /^new@/, "what was begun for it still finds its keys");
  t.end();
});

t.test("channels know no databases", (t) => {
  t.not(new RedisKeys("", 0, []).announcements, new RedisKeys("", 1, []).announcements);
  t.end();
});
