import t from "tap";
import { crossSiteReason } from "../../src/ops/cross-site.ts";

const json = { "content-type": "application/json", host: "127.0.0.1:5001" };

t.test("what changes nothing is not asked for anything", async (t) => {
  for (const method of ["GET", "HEAD", "OPTIONS"])
    t.equal(
      crossSiteReason(method, { origin: "https://evil.example", "sec-fetch-site": "cross-site" }),
      undefined,
    );
});

t.test("a change has a JSON body or the header of its own", async (t) => {
  for (const type of [
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "",
  ])
    for (const method of ["POST", "PUT", "DELETE", "PATCH"])
      t.match(crossSiteReason(method, { ...json, "content-type": type }), /content-type: application\/json/);
  t.match(crossSiteReason("POST", { host: "127.0.0.1:5001" }), /x-entrepot-request/);
  t.equal(crossSiteReason("POST", { ...json, "content-type": "Application/JSON; charset=utf-8" }), undefined);
  t.equal(crossSiteReason("DELETE", { host: "127.0.0.1:5001", "x-entrepot-request": "1" }), undefined);
});

t.test("a change comes from no page, or from one of this origin", async (t) => {
  for (const site of ["cross-site", "same-site", "anything"])
    t.match(
      crossSiteReason("POST", { ...json, "sec-fetch-site": site, origin: "http://127.0.0.1:5001" }),
      /another site/,
    );
  for (const site of ["same-origin", "none"])
    t.equal(crossSiteReason("POST", { ...json, "sec-fetch-site": site }), undefined);
  const ofAnOldBrowser = ["https://evil.example", "http://127.0.0.1:5002", "http://127.0.0.1", "null", "x"];
  for (const origin of ofAnOldBrowser)
    t.match(crossSiteReason("POST", { ...json, origin }), /another site/, origin);
  t.equal(crossSiteReason("POST", { ...json, origin: "http://127.0.0.1:5001" }), undefined);
  t.match(crossSiteReason("POST", { "content-type": "application/json", origin: "null" }), /another site/);
});
