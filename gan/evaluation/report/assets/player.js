// A player: piano roll, play button, seek bar, time. Notes are handed to the piano a second before
// they sound, so a piece of fifty thousand costs no more than one of fifty.

const AHEAD = 0.9; // seconds; in a hidden tab timers come late, and more is handed over
const AHEAD_HIDDEN = 3;
const MOST_A_TURN = 60; // notes handed over each time the timer comes round
const players = new Set();

class Player {
  constructor(sample, { title, ...shown }) {
    this.sample = sample;
    this.music = notesOf(sample);
    this.position = 0;
    this.playing = false;
    this.heard = 0; // seconds listened to
    this.roll = new Roll(sample, shown);
    this.title = title;
    this.button = make('button', {
      type: 'button', class: 'play', 'aria-label': `Play ${title}`, onclick: () => this.toggle(),
    });
    this.fill = make('div', { class: 'fill' });
    this.seekBar = make(
      'div',
      {
        class: 'seek', role: 'slider', tabindex: 0, 'aria-label': `Position in ${title}`,
        'aria-valuemin': 0, 'aria-valuemax': Math.round(sample.seconds),
        onkeydown: (event) => this.key(event),
      },
      make('div', { class: 'track' }, this.fill),
    );
    this.time = make('span', { class: 'time' });
    this.follow(this.seekBar, (share) => share * sample.seconds);
    this.follow(this.roll.canvas, (share) => this.roll.at(share, this.position));
    this.element = make(
      'div', { class: 'deck' }, this.roll.canvas,
      make('div', { class: 'controls' }, this.button, this.seekBar, this.time),
    );
    players.add(this);
    this.seen = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) this.roll.draw(this.position);
    }, { rootMargin: '200px' });
    this.seen.observe(this.roll.canvas);
    this.resized = new ResizeObserver(() => this.roll.draw(this.position));
    this.resized.observe(this.roll.canvas);
    this.tell();
  }

  // Pointers on an element move the position.
  follow(element, secondsOf) {
    const move = (event) => {
      const box = element.getBoundingClientRect();
      const share = (event.clientX - box.left) / box.width;
      this.seek(secondsOf(Math.max(0, Math.min(1, share))));
    };
    let held = false;
    element.addEventListener('pointerdown', (event) => {
      if (event.button) return;
      held = element === this.seekBar;
      if (held) element.setPointerCapture(event.pointerId);
      move(event);
    });
    element.addEventListener('pointermove', (event) => held && move(event));
    for (const kind of ['pointerup', 'pointercancel']) {
      element.addEventListener(kind, () => { held = false; });
    }
  }

  key(event) {
    const end = this.sample.seconds;
    const steps = {
      ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -15, PageUp: 15,
    };
    if (event.key in steps) this.seek(this.position + steps[event.key]);
    else if (event.key === 'Home') this.seek(0);
    else if (event.key === 'End') this.seek(end);
    else if (event.key === ' ' || event.key === 'Enter') this.toggle();
    else return;
    event.preventDefault();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  async play() {
    for (const other of players) if (other !== this) other.pause();
    const { context } = thePiano();
    this.playing = true;
    this.show();
    await context.resume();
    if (!this.playing) return;
    if (this.position >= this.sample.seconds - 0.05) this.position = 0;
    piano.silence();
    this.start();
    piano.prepare(this.music.pitch.subarray(this.next, this.next + 2000));
    this.timer = setInterval(() => this.turn(), 90);
    const frame = () => {
      if (!this.playing) return;
      this.update();
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  // Begins at the position, with the notes that sound there already.
  start() {
    const { music } = this;
    const { context } = piano;
    const first = lowerBound(music.start, this.position * 1000);
    // The first strings are computed before the clock is read, or their notes would come late.
    for (let i = Math.max(0, first - 40); i < Math.min(music.count, first + 12); i++) {
      piano.stringOf(music.pitch[i]);
    }
    this.began = context.currentTime + 0.08 - this.position;
    this.next = first;
    for (let i = Math.max(0, first - 40); i < first; i++) {
      const until = soundsUntil(music, i) / 1000;
      const into = this.position - music.start[i] / 1000;
      if (until > this.position && into < 4) {
        const when = this.began + this.position;
        piano.strike(music.pitch[i], music.velocity[i], when, this.began + until, into);
      }
    }
    this.turn();
  }

  // Hands the next notes to the piano; those that are late already are left out.
  turn() {
    const { music } = this;
    const now = piano.context.currentTime - this.began;
    const horizon = 1000 * (now + (document.hidden ? AHEAD_HIDDEN : AHEAD));
    const late = 1000 * (now - 0.15);
    for (let given = 0; given < MOST_A_TURN && this.next < music.count; this.next++) {
      const start = music.start[this.next];
      if (start > horizon) break;
      if (start < late) continue;
      const until = this.began + soundsUntil(music, this.next) / 1000;
      const when = Math.max(this.began + start / 1000, piano.context.currentTime);
      piano.strike(music.pitch[this.next], music.velocity[this.next], when, until);
      given++;
    }
    if (document.hidden) this.update();
  }

  update() {
    const before = this.position;
    this.position = Math.max(before, piano.context.currentTime - this.began);
    this.heard += Math.max(0, this.position - before);
    if (this.position >= this.sample.seconds) {
      this.position = this.sample.seconds;
      this.stop();
    }
    this.show();
  }

  stop() {
    this.playing = false;
    clearInterval(this.timer);
  }

  pause() {
    if (!this.playing) return;
    this.stop();
    if (piano) piano.silence();
    this.show();
  }

  seek(seconds) {
    this.position = Math.max(0, Math.min(this.sample.seconds, seconds));
    if (this.playing && piano) {
      piano.silence();
      this.start();
    }
    this.show();
  }

  show() {
    this.roll.draw(this.position);
    this.tell();
  }

  tell() {
    const { seconds } = this.sample;
    const whole = clock(seconds + 0.5);
    const now = `${this.position < seconds ? clock(this.position) : whole} / ${whole}`;
    this.fill.style.width = `${(100 * this.position) / Math.max(seconds, 0.001)}%`;
    if (this.time.textContent !== now) {
      this.time.textContent = now;
      this.seekBar.setAttribute('aria-valuenow', Math.round(this.position));
      this.seekBar.setAttribute('aria-valuetext', now.replace('/', 'of'));
    }
    this.button.classList.toggle('on', this.playing);
    this.button.setAttribute('aria-label', `${this.playing ? 'Pause' : 'Play'} ${this.title}`);
  }

  remove() {
    this.pause();
    players.delete(this);
    this.seen.disconnect();
    this.resized.disconnect();
    this.element.remove();
  }
}

for (const stage of document.querySelectorAll('.stage')) {
  const system = report.systems[Number(stage.dataset.system)];
  const sample = system.samples[Number(stage.dataset.sample)];
  const title = `${sample.title}, ${system.name}`;
  stage.append(new Player(sample, { title }).element);
}
const redraw = () => players.forEach((player) => player.roll.draw(player.position, true));
addEventListener('themechange', redraw);
window.jazz.players = players;
