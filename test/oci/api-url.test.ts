import t from "tap";
import { apiPath, apiUrl } from "../../src/oci/api-url.ts";
import type { Repository } from "../../src/oci/name.ts";

const registry = new URL("https://registry.example.com/api/docker");
const repository = "team/app" as Repository;

t.test("the API is below the path of the registry's URL, with or without a slash at its end", async (t) => {
  for (const [url, path] of [
    ["https://registry.example.com", "/v2/"],
    ["https://registry.example.com/", "/v2/"],
    ["https://registry.example.com/api/docker", "/api/docker/v2/"],
    ["https://registry.example.com/api/docker/", "/api/docker/v2/"],
  ] as const)
    t.equal(apiPath(new URL(url)), path, url);
});

t.test("a URL for upstream is what it was put together from", async (t) => {
  t.equal(apiUrl(registry, repository, "manifests/1").href, `${registry.href}/v2/team/app/manifests/1`);
  const query = new URLSearchParams({ n: "2", last: "a b" });
  t.equal(apiUrl(registry, repository, "tags/list", query).search, "?n=2&last=a+b");
  t.throws(() => apiUrl(registry, "../../x" as Repository, "manifests/1"));
  t.throws(() => apiUrl(registry, "a b" as Repository, "manifests/1"));
});
