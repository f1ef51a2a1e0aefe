// What a node tells of a run's ranks. Pure.

import type { NodeView } from "./api";

export const ranksOf = (node: NodeView, run: string) =>
  node.state.runs.find((r) => r.run === run);
export const aliveOn = (node: NodeView, run: string) =>
  (ranksOf(node, run)?.ranks ?? []).filter((r) => r.life !== "RANK_LIFE_EXITED").length;
