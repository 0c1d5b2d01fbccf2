import t from "tap";
import type { Repository } from "../../src/oci/name.ts";
import { upstreamRepository } from "../../src/upstream/client.ts";

const repository = "team/app" as Repository;

t.test("the prefix stands before every name", async (t) => {
  t.equal(upstreamRepository({ name: "far", repositoryPrefix: "" }, repository), repository);
  t.equal(
    upstreamRepository({ name: "far", repositoryPrefix: "docker-local" }, repository),
    "docker-local/team/app",
  );
});

t.test("a name that is too long with it is upstream's trouble", async (t) => {
  const long = "a".repeat(250) as Repository;
  t.throws(() => upstreamRepository({ name: "far", repositoryPrefix: "docker-local" }, long), {
    code: "protocol",
  });
});
