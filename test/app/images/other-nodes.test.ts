import t from "tap";
import { otherNodes } from "../../../src/app/images/other-nodes.ts";

const [a, b, c] = ["http://a:5000", "http://b:5000", "http://c:5000"] as const;
const config = { node: { name: "a", address: a }, nodes: [a, b, c] };

t.test("a node of the list that has not been heard of is asked by its address", async (t) => {
  t.same(otherNodes(config, []), [
    { name: b, address: b },
    { name: c, address: c },
  ]);
  t.same(otherNodes(config, [{ name: "b", address: b }]), [
    { name: "b", address: b },
    { name: c, address: c },
  ]);
});

t.test("the address of one that is unreachable is not taken for that of another", async (t) => {
  t.same(otherNodes(config, [{ name: "b", address: null, lastAddress: b }]), [
    { name: "b", address: null },
    { name: c, address: c },
  ]);
});
