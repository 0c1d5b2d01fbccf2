import t from "tap";
import { mirrorUrl } from "../../src/client-config/mirror-url.ts";

const named = (name: string) => ({ node: { name, address: undefined } });

t.test("how clients reach the mirror: as configured, else by the node's name", (t) => {
  const opsPage = { mirror: "https://mirror.example.com/" };
  t.equal(mirrorUrl({ ...named("m"), opsPage }, 5000), "https://mirror.example.com/");
  t.equal(mirrorUrl(named("mirror-1"), 5000), "http://mirror-1:5000/");
  const listenTls = { certFile: "", keyFile: "", clientCaFile: undefined, clientsNeedOne: false };
  t.equal(mirrorUrl({ ...named("mirror-1"), listenTls }, 0), "https://mirror-1/");
  t.equal(mirrorUrl(named("mirror.1"), 5000), "http://localhost:5000/", "a name that no URL can have");
  t.end();
});
