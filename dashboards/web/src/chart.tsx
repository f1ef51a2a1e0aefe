// A curve over steps: mean as a line, minimum to maximum as a band, abandoned
// steps faded, incidents as vertical bands, NaN as marks on the floor. Charts
// of one page share a cursor, and a range chosen in one is shown in all.

import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import type { Curve } from "./curves";
import { compact, short } from "./format";
import { logRange, robustRange } from "./scale";

export interface Band { from: number; to: number; isOpen: boolean; title: string; }
interface Props {
  title: string; unit?: string; curve: Curve; bands: Band[]; floor?: number;
  colour: string; now: string; onRange: (from: number, to: number) => void;
  show?: (value: number) => string; empty?: string; isSmall?: boolean;
  beside?: string; // What the faded line is, where it is not abandoned steps.
}

const sync = uPlot.sync("steps");
const HEIGHT = 190;
const SMALL_HEIGHT = 112;

const css = (name: string) =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function drawBands(u: uPlot, bands: Band[]): void {
  const { ctx } = u;
  const { left, top, width, height } = u.bbox;
  ctx.save();
  for (const band of bands) {
    const a = u.valToPos(band.from, "x", true);
    const b = Math.max(u.valToPos(band.to, "x", true), a + 2 * devicePixelRatio);
    if (b < left || a > left + width) continue;
    const from = Math.max(left, a);
    const colour = css(band.isOpen ? "--warn" : "--bad");
    ctx.fillStyle = colour;
    ctx.globalAlpha = 0.16;
    ctx.fillRect(from, top, Math.min(left + width, b) - from, height);
    ctx.globalAlpha = 0.9;
    ctx.fillRect(from, top, 1.5 * devicePixelRatio, height);
  }
  ctx.restore();
}

function drawNonfinite(u: uPlot, steps: number[]): void {
  const { ctx } = u;
  const { left, top, width, height } = u.bbox;
  const size = 5 * devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = css("--bad");
  ctx.lineWidth = 2 * devicePixelRatio;
  for (const step of steps) {
    const x = u.valToPos(step, "x", true);
    if (x < left || x > left + width) continue;
    const y = top + height - size;
    ctx.beginPath();
    ctx.moveTo(x - size, y - size);
    ctx.lineTo(x + size, y + size);
    ctx.moveTo(x + size, y - size);
    ctx.lineTo(x - size, y + size);
    ctx.stroke();
  }
  ctx.restore();
}

// "step 1,200: 1.893" for the point under the cursor; empty: there is none.
function readingOf(curve: Curve, at: number, show: (value: number) => string, beside?: string): string {
  if (at < 0 || at >= curve.step.length) return "";
  const other = curve.abandoned[at];
  const value = curve.value[at] ?? (beside ? null : other);
  if (value === null) return "";
  return `step ${short(Math.round(curve.step[at]))}: ${show(value)}` +
    (beside && other !== null ? `, ${beside} ${show(other)}` : "");
}

export function Chart(props: Props) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const height = props.isSmall ? SMALL_HEIGHT : HEIGHT;
  const [isLog, setLog] = useState(false);
  const [at, setAt] = useState(-1);

  const range = (): [number, number] => {
    const { curve, floor, beside } = latest.current;
    const other = beside ? curve.abandoned : [];
    return isLog ? logRange(curve.high.concat(curve.low, other))
                 : robustRange(other.concat(curve.value, curve.high), floor);
  };

  useEffect(() => {
    const axis = {
      stroke: () => css("--quiet"), font: "11px system-ui, sans-serif",
      grid: { stroke: () => css("--line"), width: 1 }, ticks: { show: false },
    };
    const stroke = () => css(latest.current.colour);
    const fill = () => css(latest.current.colour) + "38";
    const u = new uPlot({
      width: host.current!.clientWidth || 300,
      height,
      legend: { show: false },
      cursor: {
        sync: { key: sync.key }, y: false, points: { size: 7 },
        drag: { x: true, y: false, setScale: false },
      },
      scales: { x: { time: false }, y: { distr: isLog ? 3 : 1, range } },
      axes: [
        { ...axis, values: (_u, ticks) => ticks.map(compact), size: 26, space: 60 },
        { ...axis, values: (_u, ticks) => ticks.map((t) => (t === null ? "" : compact(t))),
          size: 46, space: 34 },
      ],
      series: [
        {},
        { stroke: "transparent", points: { show: false } },
        { stroke: "transparent", points: { show: false } },
        { stroke: () => css("--faded"), width: 1.2, points: { show: false }, dash: [3, 3] },
        { stroke, width: 1.6, points: { show: false } },
      ],
      bands: [{ series: [2, 1], fill }],
      hooks: {
        drawClear: [(self) => drawBands(self, latest.current.bands)],
        draw: [(self) => drawNonfinite(self, latest.current.curve.nonfinite)],
        setCursor: [(self) => setAt(self.cursor.idx ?? -1)],
        setSelect: [(self) => {
          const { left, width } = self.select;
          if (width < 4) return;
          latest.current.onRange(self.posToVal(left, "x"), self.posToVal(left + width, "x"));
          self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        }],
      },
    }, [[], [], [], [], []], host.current!);
    plot.current = u;
    const watch = new ResizeObserver(() => {
      const width = host.current?.clientWidth ?? 0;
      if (width > 0) u.setSize({ width, height });
    });
    watch.observe(host.current!);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const redraw = () => u.redraw(false, true);
    scheme.addEventListener("change", redraw);
    document.addEventListener("themechange", redraw);
    return () => {
      watch.disconnect();
      scheme.removeEventListener("change", redraw);
      document.removeEventListener("themechange", redraw);
      u.destroy();
    };
  }, [isLog]);

  useEffect(() => {
    const { curve } = props;
    plot.current!.setData([curve.step, curve.low, curve.high, curve.abandoned, curve.value] as
      uPlot.AlignedData);
  }, [props.curve, props.bands, isLog]);

  const { curve } = props;
  const text = readingOf(curve, at, props.show ?? short, props.beside);
  const hidden = curve.step.length === 0;
  return <figure class={"card chart" + (props.isSmall ? " small" : "")} aria-label={`${props.title} by step`}>
    <figcaption>
      <b title={props.title}>{props.title}</b>{props.unit && <span class="quiet"> {props.unit}</span>}
      {!props.isSmall && <span class="reading quiet">{text}</span>}
      <strong>{props.isSmall && text ? text : props.now}</strong>
      {!props.isSmall && <button type="button" class="plain" aria-pressed={isLog} onClick={() => setLog(!isLog)}
        title="Logarithmic axis">log</button>}
    </figcaption>
    <div ref={host} class={"plot" + (hidden ? " hollow" : "")}
      data-points={curve.step.length} />
    {hidden && <p class="quiet over">{props.empty ?? "no steps yet"}</p>}
    {curve.nonfinite.length > 0 && <p class="nonfinite">✕ {curve.nonfinite.length} not finite,
      the last at step {short(curve.nonfinite[curve.nonfinite.length - 1])}</p>}
  </figure>;
}
