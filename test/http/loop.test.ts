import t from "tap";
import { loopsBack } from "../../src/http/loop.ts";

const own = "entrepot-0a1b2c3d";

t.test("a request that went through this mirror has come back", async (t) => {
  for (const via of [
    "1.1 entrepot-0a1b2c3d",
    "HTTP/1.1 entrepot-0a1b2c3d",
    "1.0 fred, 1.1 entrepot-0a1b2c3d",
    "1.1 entrepot-0a1b2c3d (Entrepot), 2 haproxy",
    "1.1 haproxy,1.1 Entrepot-0A1B2C3D",
    " 1.1\tentrepot-0a1b2c3d ",
  ])
    t.ok(loopsBack(via, own), via);
});

t.test("every other request has not", async (t) => {
  for (const via of [
    undefined,
    "",
    ",",
    "1.1",
    "1.1 entrepot-0a1b2c3e",
    "1.1 entrepot-0a1b2c3d.example.com",
    "1.1 entrepot",
    "entrepot-0a1b2c3d",
    "1.1 haproxy (entrepot-0a1b2c3d)",
  ])
    t.notOk(loopsBack(via, own), String(via));
});
