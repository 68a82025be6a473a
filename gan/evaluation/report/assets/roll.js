// The piano roll on a canvas: one page of a piece at a time, p(jazz) above it, sounding notes lit.
// Notes are painted once a page; while playing only the lit ones and the playhead are.

const WHOLE = 48; // seconds that fit on one page; longer pieces turn pages
const PAGE = 30;
const STRIP = 30; // pixels of the p(jazz) curve
const RULER = 16; // pixels of the time below

class Roll {
  // What may be told of a piece heard blind is less: no p(jazz), nor always where its prompt ends.
  constructor(sample, { curve = true, marker = true }) {
    this.sample = sample;
    this.music = notesOf(sample);
    this.span = sample.seconds <= WHOLE ? Math.max(sample.seconds, 0.5) : PAGE;
    this.strip = sample.curve.length && curve ? STRIP : 0;
    this.canvas = make('canvas', { role: 'img', 'aria-label': sample.words });
    this.still = document.createElement('canvas');
    const [low, high] = sample.pitches;
    const air = Math.max(2, Math.ceil((30 - (high - low)) / 2));
    this.low = low - air;
    this.high = high + air;
    this.begins = marker ? sample.begins : null;
    this.painted = null;
  }

  page(seconds) {
    return Math.max(0, Math.min(seconds, this.sample.seconds - 0.001) / this.span) | 0;
  }

  // Seconds under a place of the canvas, 0 to 1, on the page shown at a moment.
  at(share, seconds) {
    return (this.page(seconds) + share) * this.span;
  }

  x(seconds) {
    return ((seconds - this.from) / this.span) * this.width;
  }

  y(pitch) {
    return this.strip + ((this.high - pitch) / (this.high - this.low + 1)) * this.rows;
  }

  colours() {
    const style = getComputedStyle(this.canvas);
    const get = (name) => style.getPropertyValue(name).trim();
    return {
      ink: get('--ink'), prompt: get('--faint'), text: get('--soft'), grid: get('--grid'),
      paper: get('--roll'), stripe: get('--stripe'), lit: get('--lit'), head: get('--text'),
    };
  }

  // Draws the page of a moment; `fresh` paints its notes anew, as after a change of size or colours.
  draw(seconds, fresh = false) {
    const box = this.canvas.getBoundingClientRect();
    if (!box.width || !box.height) return;
    const scale = Math.min(3, devicePixelRatio || 1);
    const page = this.page(seconds);
    const key = `${page} ${box.width} ${box.height} ${scale}`;
    if (fresh || key !== this.painted) {
      for (const canvas of [this.canvas, this.still]) {
        canvas.width = Math.round(box.width * scale);
        canvas.height = Math.round(box.height * scale);
      }
      this.width = box.width;
      this.rows = box.height - this.strip - RULER;
      this.from = page * this.span;
      this.shades = this.colours();
      this.paintStill(this.still.getContext('2d'), scale, box.height);
      this.painted = key;
    }
    const brush = this.canvas.getContext('2d');
    brush.setTransform(1, 0, 0, 1, 0, 0);
    brush.drawImage(this.still, 0, 0);
    brush.setTransform(scale, 0, 0, scale, 0, 0);
    this.paintMoment(brush, seconds);
  }

  paintStill(brush, scale, height) {
    const { music, shades } = this;
    brush.setTransform(scale, 0, 0, scale, 0, 0);
    brush.fillStyle = shades.paper;
    brush.fillRect(0, 0, this.width, height);
    this.paintKeys(brush);
    this.paintRuler(brush, height);
    if (this.strip) this.paintCurve(brush);
    const end = (this.from + this.span) * 1000;
    const begins = this.begins === null ? -1 : this.begins * 1000 - 0.5;
    // A note begun on the page before may reach into this one; 20 s back is far enough to look.
    let i = lowerBound(music.start, Math.max(0, this.from * 1000 - 20000));
    for (; i < music.count && music.start[i] < end; i++) {
      this.paintNote(brush, i, music.start[i] < begins ? shades.prompt : shades.ink);
    }
    brush.globalAlpha = 1;
    this.paintNames(brush);
    if (begins >= 0) this.paintBeginning(brush, height);
  }

  paintNote(brush, i, colour, alpha = 0.5 + 0.5 * Math.min(1, this.music.velocity[i] / 100)) {
    const { music } = this;
    const left = this.x(music.start[i] / 1000);
    const width = Math.max(1.5, (music.length[i] / 1000 / this.span) * this.width - 0.5);
    if (left + width < 0) return;
    const tall = Math.max(2, this.rows / (this.high - this.low + 1));
    brush.globalAlpha = alpha;
    brush.fillStyle = colour;
    brush.fillRect(left, this.y(music.pitch[i]), width, tall > 3 ? tall - 0.6 : tall);
  }

  paintKeys(brush) {
    const { shades } = this;
    const tall = this.rows / (this.high - this.low + 1);
    for (let pitch = this.low; pitch <= this.high; pitch++) {
      if ([1, 3, 6, 8, 10].includes((pitch + 120) % 12)) {
        brush.fillStyle = shades.stripe;
        brush.fillRect(0, this.y(pitch), this.width, tall);
      }
    }
    for (let pitch = Math.ceil(this.low / 12) * 12; pitch <= this.high; pitch += 12) {
      brush.fillStyle = shades.grid;
      brush.fillRect(0, this.y(pitch) + tall, this.width, 1);
    }
  }

  // Words over what is drawn already, on a rim of paper so that they can be read there.
  paintWords(brush, words, x, y) {
    brush.font = '10px system-ui, sans-serif';
    brush.lineWidth = 3;
    brush.lineJoin = 'round';
    brush.strokeStyle = this.shades.paper;
    brush.strokeText(words, x, y);
    brush.fillStyle = this.shades.text;
    brush.fillText(words, x, y);
  }

  paintNames(brush) {
    const tall = this.rows / (this.high - this.low + 1);
    for (let pitch = Math.ceil(this.low / 12) * 12; pitch <= this.high; pitch += 12) {
      const y = this.y(pitch) + tall;
      if (y < this.strip + 11) continue; // its name would be cut off
      this.paintWords(brush, `C${pitch / 12 - 1}`, 4, y - 2);
    }
  }

  paintRuler(brush, height) {
    brush.font = '10px system-ui, sans-serif';
    // The first round number of seconds whose words stand apart.
    const room = brush.measureText(`${clock(this.from + this.span)}  `).width;
    const step = [1, 2, 5, 10, 20, 30].find((t) => (t / this.span) * this.width > 1.5 * room) ?? 60;
    for (let t = Math.ceil(this.from / step) * step; t <= this.from + this.span; t += step) {
      const x = this.x(t);
      brush.fillStyle = this.shades.grid;
      brush.fillRect(x, this.strip, 1, this.rows + 4);
      const words = clock(t);
      const wide = brush.measureText(words).width;
      brush.fillStyle = this.shades.text;
      brush.fillText(words, Math.max(2, Math.min(this.width - wide - 2, x - wide / 2)), height - 4);
    }
  }

  paintCurve(brush) {
    const { shades } = this;
    const y = (p) => 3 + (1 - p) * (STRIP - 7);
    brush.beginPath();
    const points = this.sample.curve;
    points.forEach(([t, p], n) => {
      // Held to the ends of the piece, where no window has its middle.
      if (n === 0) brush.moveTo(this.x(0), y(p));
      brush.lineTo(this.x(t), y(p));
      if (n === points.length - 1) brush.lineTo(this.x(this.sample.seconds), y(p));
    });
    brush.strokeStyle = shades.ink;
    brush.lineWidth = 1.6;
    brush.stroke();
    brush.lineTo(this.x(this.sample.seconds), y(0.5));
    brush.lineTo(this.x(0), y(0.5));
    brush.globalAlpha = 0.18;
    brush.fillStyle = shades.ink;
    brush.fill();
    brush.globalAlpha = 1;
    brush.fillStyle = shades.grid;
    brush.fillRect(0, y(0.5), this.width, 1);
    brush.fillRect(0, STRIP - 1, this.width, 1);
    this.paintWords(brush, 'p(jazz)', 4, STRIP - 5);
  }

  paintBeginning(brush, height) {
    const x = this.x(this.begins);
    brush.fillStyle = this.shades.head;
    for (let y = this.strip; y < height - RULER; y += 6) brush.fillRect(x - 0.5, y, 1, 3);
    if (x < 0 || x > this.width) return;
    brush.font = '10px system-ui, sans-serif';
    const words = 'generated →';
    const wide = brush.measureText(words).width;
    brush.fillText(words, Math.min(x + 4, this.width - wide - 2), this.strip + 11);
  }

  paintMoment(brush, seconds) {
    const { music } = this;
    const now = seconds * 1000;
    // Of a thousand notes at once nobody sees which are lit: a few hundred are looked at.
    const next = lowerBound(music.start, now + 1);
    if (seconds > 0) {
      for (let i = next - 1; i >= 0 && i > next - 300; i--) {
        if (music.start[i] + music.length[i] > now) this.paintNote(brush, i, this.shades.lit, 1);
      }
    }
    brush.globalAlpha = 1;
    brush.fillStyle = this.shades.head;
    const x = this.x(seconds);
    if (seconds > 0) brush.fillRect(x - 0.75, 0, 1.5, this.strip + this.rows);
  }
}
