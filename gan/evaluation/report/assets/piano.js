// A piano from nothing: strings of decaying, slightly sharp partials, computed once for every third
// key and played faster or slower for its neighbours; a hammer's knock; dampers; a small room.

const KEYS_A_STRING = 3;
const MOST_VOICES = 80;
const UNDAMPED = 89; // from here up a piano's strings have no dampers

// One string, struck, as samples. A partial is a damped resonator; each decays twice, fast and then
// slowly and a little out of tune, as the two or three wires of a key do.
function struckString(key, rate) {
  const f0 = 440 * 2 ** ((key - 69) / 12);
  const ring = 18 * 2 ** (-(key - 21) / 20); // seconds to fall by 60 dB
  const seconds = Math.min(5, Math.max(0.9, 0.8 * ring));
  const out = new Float32Array(Math.ceil(rate * seconds));
  const stretch = 1e-4 * Math.exp((key - 45) * 0.075);
  const slope = 0.85 + 0.5 * Math.max(0, (key - 40) / 60);
  for (let k = 1; k <= 24; k++) {
    const frequency = k * f0 * Math.sqrt(1 + stretch * k * k);
    if (frequency > Math.min(9500, rate / 2.3)) break;
    const strength =
      (0.15 + Math.abs(Math.sin(k * Math.PI * 0.122))) * k ** -slope * Math.exp(-frequency / 3800);
    const decay = (6.9 / ring) * (1 + 0.11 * (k - 1) + (frequency / 5200) ** 2);
    resonate(out, rate, frequency, 0.78 * strength, 1.5 * decay);
    resonate(out, rate, frequency * 1.00023, 0.22 * strength, 0.42 * decay);
  }
  knock(out, rate, key);
  level(out, rate);
  return out;
}

function resonate(out, rate, frequency, strength, decay) {
  const turn = (2 * Math.PI * frequency) / rate;
  const shrink = Math.exp(-decay / rate);
  const a = 2 * shrink * Math.cos(turn);
  const b = -shrink * shrink;
  let before = 0;
  let now = strength * shrink * Math.sin(turn);
  const end = Math.min(out.length, Math.ceil((rate * 9) / decay));
  for (let n = 1; n < end; n++) {
    out[n] += now;
    const next = a * now + b * before;
    before = now;
    now = next;
  }
}

// The hammer: a few hundredths of a second of dull noise, the same every time.
function knock(out, rate, key) {
  let seed = 1 + key;
  let dull = 0;
  const strength = 0.05 + 0.002 * Math.max(0, key - 50);
  const length = Math.min(out.length, Math.floor(0.05 * rate));
  for (let n = 0; n < length; n++) {
    seed = (Math.imul(seed, 1664525) + 1013904223) | 0;
    dull += 0.12 * (seed / 2 ** 31 - dull);
    out[n] += strength * dull * Math.exp((-5 * n) / length);
  }
}

// Equal loudness for all strings, a soft first millisecond and an end without a click.
function level(out, rate) {
  const early = Math.min(out.length, Math.floor(0.4 * rate));
  let power = 0;
  for (let n = 0; n < early; n++) power += out[n] * out[n];
  const scale = 0.13 / Math.sqrt(power / early);
  const soft = Math.floor(0.0012 * rate);
  const fade = Math.floor(0.25 * out.length);
  for (let n = 0; n < out.length; n++) {
    out[n] *= scale * Math.min(1, n / soft) * Math.min(1, (out.length - n) / fade);
  }
}

class Piano {
  constructor() {
    const context = new AudioContext({ latencyHint: 'playback' });
    this.context = context;
    this.strings = new Map();
    this.voices = [];
    const limiter = new DynamicsCompressorNode(context, {
      threshold: -14, knee: 12, ratio: 6, attack: 0.004, release: 0.25,
    });
    const room = new ConvolverNode(context, { buffer: this.roomOf(1.7) });
    const wet = new GainNode(context, { gain: 0.22 });
    this.input = new GainNode(context, { gain: 0.8 });
    this.analyser = new AnalyserNode(context, { fftSize: 2048 });
    this.input.connect(limiter);
    this.input.connect(room).connect(wet).connect(limiter);
    // Below 0.7 nothing changes; fifty notes at once are bent to stay within what a speaker takes.
    const curve = Float32Array.from({ length: 2049 }, (_, n) => {
      const x = 1.5 * (n / 1024 - 1);
      const over = Math.max(0, Math.abs(x) - 0.7);
      return Math.sign(x) * (Math.abs(x) - over + 0.28 * Math.tanh(over / 0.28));
    });
    const halved = new GainNode(context, { gain: 1 / 1.5 }); // a shaper's input ends at 1
    const ceiling = new WaveShaperNode(context, { curve });
    limiter.connect(halved).connect(ceiling).connect(this.analyser);
    this.analyser.connect(context.destination);
    // Low strings lie to the left of who plays.
    this.seats = [-0.45, -0.25, -0.08, 0.08, 0.25, 0.45].map((pan) => {
      const seat = new StereoPannerNode(context, { pan });
      seat.connect(this.input);
      return seat;
    });
  }

  roomOf(seconds) {
    const { sampleRate } = this.context;
    const buffer = this.context.createBuffer(2, Math.floor(seconds * sampleRate), sampleRate);
    for (let side = 0; side < 2; side++) {
      const samples = buffer.getChannelData(side);
      let dull = 0;
      for (let n = 0; n < samples.length; n++) {
        const share = n / samples.length;
        dull += (0.45 - 0.3 * share) * (2 * Math.random() - 1 - dull);
        samples[n] = dull * Math.exp(-6 * share);
      }
    }
    return buffer;
  }

  // The string that a pitch is played on, computed if it has to be.
  stringOf(pitch) {
    const key = Math.round((pitch - 1) / KEYS_A_STRING) * KEYS_A_STRING + 1;
    if (!this.strings.has(key)) {
      const samples = struckString(key, this.context.sampleRate);
      const buffer = this.context.createBuffer(1, samples.length, this.context.sampleRate);
      buffer.copyToChannel(samples, 0);
      this.strings.set(key, buffer);
    }
    return { buffer: this.strings.get(key), speed: 2 ** ((pitch - key) / 12) };
  }

  // Computes the strings of some pitches ahead, one at a time, so that the page stays alive.
  prepare(pitches) {
    const waiting = [...new Set(pitches)];
    const next = () => {
      if (!waiting.length) return;
      this.stringOf(waiting.shift());
      setTimeout(next, 15);
    };
    setTimeout(next, 15);
  }

  // Plays a note: `when` and `until` on the context's clock, `into` seconds into its sound.
  strike(pitch, velocity, when, until, into = 0) {
    const { context } = this;
    const { buffer, speed } = this.stringOf(pitch);
    if (into * speed >= buffer.duration) return;
    const hard = velocity / 127;
    const f0 = 440 * 2 ** ((pitch - 69) / 12);
    const source = new AudioBufferSourceNode(context, { buffer, playbackRate: speed });
    const felt = new BiquadFilterNode(context, {
      type: 'lowpass', Q: 0.4, frequency: Math.min(16000, 1.6 * f0 + 500 + 9500 * hard * hard),
    });
    const gain = new GainNode(context, { gain: 0.06 + 0.94 * hard ** 1.7 });
    const seat = this.seats[Math.max(0, Math.min(5, Math.floor((pitch - 27) / 13)))];
    source.connect(felt).connect(gain).connect(seat);
    const end = pitch >= UNDAMPED ? when + buffer.duration / speed : until;
    const voice = { pitch, source, gain: gain.gain, when, end };
    for (const other of this.voices) {
      if (other.pitch === pitch && other.end > when) this.damp(other, when, 0.03);
    }
    this.voices = this.voices.filter((other) => other.end + 0.5 > context.currentTime);
    if (this.voices.length >= MOST_VOICES) {
      this.damp(this.voices.shift(), Math.max(when, context.currentTime), 0.02);
    }
    source.start(when, into * speed);
    if (pitch < UNDAMPED) {
      const slow = 0.05 + 0.0014 * Math.max(0, 75 - pitch); // heavier strings take longer to still
      gain.gain.setTargetAtTime(0, Math.max(end, when + 0.02), slow);
      source.stop(Math.max(end, when) + 8 * slow);
    }
    source.onended = () => {
      gain.disconnect();
      voice.end = 0;
    };
    this.voices.push(voice);
  }

  damp(voice, when, slow) {
    voice.gain.cancelScheduledValues(when);
    voice.gain.setTargetAtTime(0, when, slow);
    voice.source.stop(when + 8 * slow);
    voice.end = when;
  }

  silence() {
    const now = this.context.currentTime;
    for (const voice of this.voices) {
      if (voice.when > now) {
        voice.source.stop();
        voice.source.disconnect();
      } else this.damp(voice, now, 0.03);
    }
    this.voices = [];
  }
}

let piano = null;

// The one piano of the page; made when first played, since a page may not sound unasked.
function thePiano() {
  piano ??= new Piano();
  return piano;
}

window.jazz = {
  get analyser() {
    return piano && piano.analyser;
  },
  get context() {
    return piano && piano.context;
  },
  get voices() {
    return piano ? piano.voices.length : 0;
  },
};
