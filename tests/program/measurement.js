// What is measured in each frame of the page that tests/program/browser.rs makes, as `Measured` has it there.

const channels = color => color.match(/[\d.]+/g).map(Number);

// WCAG 2: how light a color is to the eye.
const luminance = color => {
  const [red, green, blue] = channels(color).slice(0, 3).map(channel => {
    const share = channel / 255;
    return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};

const contrast = (one, other) => {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
};

const isTransparent = color => channels(color)[3] === 0;

// A browser's own canvas stands behind a page that has no background.
const behind = (frame, element) => {
  for (let at = element; at; at = at.parentElement) {
    const { backgroundColor } = frame.getComputedStyle(at);
    if (!isTransparent(backgroundColor)) return backgroundColor;
  }
  return frame.matchMedia("(prefers-color-scheme: dark)").matches ? "rgb(18, 18, 18)" : "rgb(255, 255, 255)";
};

const contrasts = frame => {
  const { document } = frame;
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (texts.nextNode()) {
    const text = texts.currentNode.textContent.trim();
    const element = texts.currentNode.parentElement;
    const box = element.getBoundingClientRect();
    if (!text || !box.width || element.closest("title, script, style")) continue;
    const style = frame.getComputedStyle(element);
    const color = element.closest("svg") ? style.fill : style.color;
    found.push([contrast(color, behind(frame, element)), text]);
  }
  return found.sort((a, b) => a[0] - b[0]);
};

const covers = (one, other) =>
  one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;

const measureChart = (frame, figure) => {
  const svg = figure.querySelector("svg");
  const edge = svg.getBoundingClientRect();
  const scale = svg.getScreenCTM().a;
  const texts = [...svg.querySelectorAll("text")].map(text => ({
    text: text.textContent,
    size: parseFloat(frame.getComputedStyle(text).fontSize) * scale,
    box: text.getBoundingClientRect(),
  }));
  const isCut = ({ box }) =>
    box.left < edge.left - 1 || box.right > edge.right + 1 || box.top < edge.top - 1 || box.bottom > edge.bottom + 1;
  const pairs = texts.flatMap((one, index) => texts.slice(index + 1).map(other => [one, other]));
  const marks = [...svg.querySelectorAll(".mark")].map(mark => {
    const line = mark.querySelector("line");
    return {
      label: mark.querySelector("text")?.textContent ?? null,
      title: mark.querySelector("title").textContent,
      height: line.getBoundingClientRect().height,
      isDrawn: !["none", behind(frame, svg)].includes(frame.getComputedStyle(line).stroke),
    };
  });
  return {
    title: figure.querySelector("figcaption b").textContent,
    curves: [
      ...[...svg.querySelectorAll("path")].map(path => path.getTotalLength()),
      ...[...svg.querySelectorAll("circle")].map(circle => circle.getBBox().width),
    ],
    bars: svg.querySelectorAll("rect:not(.spot)").length,
    marks,
    spots: [...svg.querySelectorAll(".spot title")].map(title => title.textContent),
    cut: texts.filter(isCut).map(({ text }) => text),
    covered: pairs.filter(([one, other]) => covers(one.box, other.box)).map(pair => pair.map(({ text }) => text).join(" and ")),
    smallest: texts.length ? Math.min(...texts.map(({ size }) => size)) : null,
  };
};

const measure = element => {
  const frame = element.contentWindow;
  const { document } = frame;
  const scrolls = at => at && (["auto", "scroll"].includes(frame.getComputedStyle(at).overflowX) || scrolls(at.parentElement));
  const outside = [...document.body.querySelectorAll("*")].filter(at =>
    at.getBoundingClientRect().right > frame.innerWidth + 0.5 && !at.closest("svg") && !scrolls(at.parentElement));
  return {
    name: element.dataset.name,
    width: frame.innerWidth,
    content: document.scrollingElement.scrollWidth,
    isDark: frame.matchMedia("(prefers-color-scheme: dark)").matches,
    complaints: frame.complaints,
    outside: outside.map(at => at.outerHTML.slice(0, 80)),
    contrasts: contrasts(frame),
    charts: [...document.querySelectorAll("figure")].map(figure => measureChart(frame, figure)),
  };
};

// What a frame asks for is refused a moment after it is loaded.
addEventListener("load", () => setTimeout(() => {
  const measured = JSON.stringify([...document.querySelectorAll("iframe")].map(measure));
  const bytes = new TextEncoder().encode(measured);
  const text = Array.from(bytes, byte => String.fromCharCode(byte)).join("");
  document.getElementById("measured").textContent = btoa(text);
}, 1000));
