"use strict";
// What explorer.safetensors, in base64, holds: what is known of it, its tensors, and the decoder.
function readExplorer(text) {
  const [about, tensors] = read(text);
  const layers = about.layers.map((layer, i) => ({
    ...layer, weight: tensors[`layer.${i}.weight`]?.data, bias: tensors[`layer.${i}.bias`]?.data,
  }));

  function read(text) {
    const raw = atob(text.trim()), bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    const start = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
    const { __metadata__: metadata, ...header } = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)));
    const found = {};
    for (const [name, { dtype, shape, data_offsets: [from, to] }] of Object.entries(header)) {
      const own = bytes.buffer.slice(start + from, start + to);
      const data = dtype === "F32" ? new Float32Array(own) : dtype === "U8" ? new Uint8Array(own) : halves(own);
      found[name] = { shape, data };
    }
    return [JSON.parse(metadata.about), found];
  }

  function halves(buffer) {
    return Float32Array.from(new Uint16Array(buffer), bits => {
      const exponent = (bits >> 10) & 31, fraction = bits & 1023;
      const size = exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction;
      return bits & 0x8000 ? -size : size;
    });
  }

  // Row i, j, ... of a tensor.
  function at(name, ...index) {
    const { shape, data } = tensors[name], size = shape.slice(index.length).reduce((a, b) => a * b, 1);
    const place = index.reduce((sum, i, axis) => sum * shape[axis] + i, 0);
    return data.subarray(place * size, (place + 1) * size);
  }

  const activations = {
    tanh: Math.tanh,
    relu: v => (v > 0 ? v : 0),
    silu: v => v / (1 + Math.exp(-v)),
    identity: v => v,
    sigmoid: v => 1 / (1 + Math.exp(-v)),
    "continuous-bernoulli": v => (Math.abs(v) < 1e-2 ? 0.5 + v / 12 : 1 / (1 - Math.exp(-v)) - 1 / v),
    exp: Math.exp,
  };

  function dense(x, { weight, bias }) {
    return bias.map((sum, row) => {
      for (let i = 0, start = row * x.length; i < x.length; i++) sum += weight[start + i] * x[i];
      return sum;
    });
  }

  // ConvTranspose2d of kernel 4, stride 2 and padding 1: pixel (y, x) adds to 4 x 4 pixels from (2y - 1, 2x - 1).
  // They are summed in images with a border of one pixel, which is cut off in the end.
  function deconvolve(x, { weight, bias, from: [inputs, h, w], to: [outputs, H, W] }) {
    const high = 2 * h + 2, wide = 2 * w + 2, size = 16 * outputs;
    const bordered = new Float32Array(outputs * high * wide), patch = new Float32Array(size);
    for (let pixel = 0; pixel < h * w; pixel++) {
      patch.fill(0);
      for (let i = 0; i < inputs; i++) {
        const value = x[i * h * w + pixel], start = i * size;
        if (value !== 0) for (let k = 0; k < size; k++) patch[k] += value * weight[start + k];
      }
      const corner = 2 * Math.floor(pixel / w) * wide + 2 * (pixel % w);
      for (let k = 0; k < size; k++) {
        bordered[(k >> 4) * high * wide + corner + ((k >> 2) & 3) * wide + (k & 3)] += patch[k];
      }
    }
    return Float32Array.from({ length: outputs * H * W }, (_, k) => {
      const o = Math.floor(k / (H * W)), row = Math.floor(k / W) % H;
      return bias[o] + bordered[(o * high + row + 1) * wide + (k % W) + 1];
    });
  }

  // Pictures turned, stretched, sheared and shifted by the pose, as networks/posed.py has it: bilinear, and
  // continued at their edges.
  function move(x, pose, { units, shape: [channels, h, w] }) {
    const [turn, size, aspect, shear, right, down] = units.map((unit, i) => unit * pose[i]);
    const cos = Math.cos(turn), sin = Math.sin(turn), wide = Math.exp(size + aspect), high = Math.exp(size - aspect);
    // From where each pixel comes: the inverse of the map.
    const a = (sin * shear + cos) / wide, b = (sin - cos * shear) / wide, c = -sin / high, d = cos / high;
    const within = (v, count) => Math.min(Math.max(((v + 1) * count - 1) / 2, 0), count - 1);
    return x.map((_, k) => {
      const across = ((k % w) * 2 + 1) / w - 1 - right, along = ((Math.floor(k / w) % h) * 2 + 1) / h - 1 - down;
      const column = within(a * across + b * along, w), row = within(c * across + d * along, h);
      const left = Math.floor(column), top = Math.floor(row), image = Math.floor(k / (h * w)) * h * w;
      const line = y => {
        const start = image + Math.min(y, h - 1) * w, share = column - left;
        return (1 - share) * x[start + left] + share * x[start + Math.min(left + 1, w - 1)];
      };
      return (1 - row + top) * line(top) + (row - top) * line(top + 1);
    });
  }

  // The mean of x: a code through all layers, of which the last leads to the mean. A pose is no part of the
  // code of the picture that it moves.
  function decode(code) {
    const moves = layers.find(layer => layer.kind === "pose"), start = moves?.from, end = start + moves?.units.length;
    let x = Float32Array.from(moves ? [...code.slice(0, start), ...code.slice(end)] : code);
    for (const layer of layers) {
      if (layer.kind === "dense") x = dense(x, layer);
      else if (layer.kind === "deconvolve") x = deconvolve(x, layer);
      else if (layer.kind === "pose") x = move(x, code.slice(start, end), layer);
      else if (layer.kind !== "softmax") x = x.map(activations[layer.kind]);
    }
    const unit = tensors.unit.data, shift = tensors.shift.data;
    if (layers.at(-1).kind !== "softmax") return x.map((v, i) => spread(unit, i) * v + spread(shift, i));
    // Of counts given their total: shares of it.
    const top = x.reduce((a, b) => Math.max(a, b)), shares = x.map((v, i) => spread(unit, i) * Math.exp(v - top));
    const scale = unit.reduce((a, b) => a + b) / shares.reduce((a, b) => a + b);
    return shares.map(v => v * scale);
  }

  return { about, tensors, at, decode };
}

// Of one value for all, or one for each.
function spread(array, i) {
  return array[array.length > 1 ? i : 0];
}
