import t from "tap";
import { plainAccept, takes } from "../../src/oci/accept.ts";
import { manifestAccept, mediaTypes } from "../../src/oci/media-type.ts";
import { cpuTime } from "../fixtures/cpu-time.ts";

const { ociManifest, ociIndex, dockerManifest, dockerList } = mediaTypes;

t.test("who names the type, or any, takes it", async (t) => {
  const headers = [
    undefined,
    ociManifest,
    `${ociIndex}, ${ociManifest}`,
    `${ociIndex},${ociManifest.toUpperCase()}`,
    "*/*",
    `${ociIndex}, */*`,
    `${ociIndex}, */*;q=0.1`,
    "application/*",
    `${ociIndex}, application/*;q=0.5`,
    `${ociManifest};q=0.001`,
    `${ociManifest}; charset=utf-8; q=1`,
    manifestAccept,
    "",
    ",",
    "json",
    "é/é",
    `${ociIndex},`.padEnd(2049, " "),
  ];
  for (const header of headers) t.ok(takes(header, ociManifest), `${header}`.trim());
});

t.test("who names other types, or refuses this one, does not", async (t) => {
  const headers = [
    ociIndex,
    `${ociIndex}, ${dockerList}`,
    dockerManifest,
    "application/json",
    "text/*, image/png",
    `${ociManifest};q=0`,
    `${ociManifest} ; Q=0.000, */*`,
    `application/*;q=0, */*`,
    `${ociIndex}, */*;q=0`,
    `${ociManifest}x`.replace("json", "xml"),
  ];
  for (const header of headers) t.notOk(takes(header, ociManifest), header);
});

t.test("upstream is asked with what can be read of it", async (t) => {
  t.equal(
    plainAccept(`${ociIndex} ;Q=0.5,, ${dockerList.toUpperCase()}; a=b , x, "a/b", é/x, */*;q=2, text/*;q=0`),
    `${ociIndex};q=0.5, ${dockerList}, */*, text/*;q=0`,
  );
});

t.test("hostile headers take no time", async (t) => {
  const units = ["a/b;", "a/b;q=0", ";", ",", "a/b,", "q=0 ", "; q=0;", "a", "/", " "];
  const spent = cpuTime(() => {
    for (const unit of units) {
      const header = unit.repeat(2048).slice(0, 2048);
      takes(header, ociManifest);
      plainAccept(header);
    }
  });
  t.ok(spent < 500, `${spent} ms`);
});
