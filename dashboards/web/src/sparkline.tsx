// A line of few points in a table's row. What is not finite is a gap in it,
// with a mark on the floor.

import { short } from "./format";
import { sparkOf } from "./spark";

const WIDTH = 96;
const HEIGHT = 22;

export function Sparkline({ values, label }: { values: number[]; label: string }) {
  if (values.length < 2) return <span class="quiet">–</span>;
  const { path, gaps, first, last } = sparkOf(values, WIDTH, HEIGHT);
  const text = `${label}, ${values.length} points: ${short(first)} to ${short(last)}` +
    (gaps.length > 0 ? `, ${gaps.length} not finite` : "");
  return <svg class="spark" width={WIDTH} height={HEIGHT} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img"
      aria-label={text}>
    <title>{text}</title>
    <path d={path} />
    {gaps.map((x) => <path class="gap" d={`M${x - 2.5} ${HEIGHT - 6}l5 5m0 -5l-5 5`} />)}
  </svg>;
}
