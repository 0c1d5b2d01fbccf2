import { Agent as HttpsAgent } from "node:https";
import t from "tap";
import type { Repository } from "../../src/oci/name.ts";
import { createAuthorizer } from "../../src/upstream/auth/authorization.ts";
import { HttpPushTarget } from "../../src/upstream/push-target.ts";
import { upstreamConfig } from "../fixtures/connected-upstream.ts";

const repository = "team/app" as Repository;

t.test("writes go where reads come from, with the same account", async (t) => {
  for (const href of ["https://registry.example.com/api", "http://registry.example.com:8081"]) {
    const config = upstreamConfig(new URL(href));
    const target = new HttpPushTarget(
      config,
      createAuthorizer(config, () => {}, Date.now),
    );
    t.equal(target.url, config.url);
    t.equal(
      target.agentFor(config.url) instanceof HttpsAgent,
      href.startsWith("https:"),
      "an agent of the URL's protocol",
    );
    t.equal(await target.authorization(repository, "pull,push"), `Basic ${btoa("ci:s3cret")}`);
    t.equal(await target.refused(repository, ["Basic"], 401), false);
    await target.close();
  }
});
