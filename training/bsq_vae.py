"""The picture tokenizer: Infinity's BSQ-VAE (encoder, multi-scale bit quantiser, decoder), with its key names."""
import torch
import torch.nn.functional as F
from torch import nn

from precision import mixed

SCALES = [1, 2, 3, 4, 5, 6, 8]          # sides of the token grids, coarse to fine
BITS = 16                               # bits of a token = channels of the latent
DEMO = dict(ch=32, ch_mult=(1, 1, 2, 2), res_blocks=1, z=BITS)


class Conv(nn.Module):
    def __init__(self, cin, cout, kernel, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, padding)

    def forward(self, x):
        return self.conv(x)


class Norm(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm = nn.GroupNorm(32 if c % 32 == 0 else 24, c, eps=1e-6)

    def forward(self, x):
        return self.norm(x)


class ResBlock(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.norm1, self.conv1 = Norm(cin), Conv(cin, cout, 3, padding=1)
        self.norm2, self.conv2 = Norm(cout), Conv(cout, cout, 3, padding=1)
        if cin != cout:
            self.nin_shortcut = Conv(cin, cout, 1)

    def forward(self, x):
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class Downsample(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = Conv(c, c, 3, stride=2)

    def forward(self, x):
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = Conv(c, c, 3, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class Middle(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.block_1, self.block_2 = ResBlock(c, c), ResBlock(c, c)

    def forward(self, x):
        return self.block_2(self.block_1(x))


class Level(nn.Module):
    """The residual blocks of one resolution, and the step to the next one."""

    def __init__(self, cin, cout, blocks, **resample):
        super().__init__()
        self.block = nn.ModuleList(ResBlock(cin if i == 0 else cout, cout) for i in range(blocks))
        for name, module in resample.items():
            setattr(self, name, module)

    def forward(self, x):
        for module in self.block:
            x = module(x)
        for name in ("downsample", "upsample"):
            if hasattr(self, name):
                x = getattr(self, name)(x)
        return x


class Encoder(nn.Module):
    def __init__(self, ch, ch_mult, res_blocks, z):
        super().__init__()
        widths, last = [ch * m for m in ch_mult], len(ch_mult) - 1
        self.conv_in = Conv(3, ch, 3, padding=1)
        self.down = nn.ModuleList(
            Level(widths[i - 1] if i else ch, w, res_blocks, **({"downsample": Downsample(w)} if i < last else {}))
            for i, w in enumerate(widths))
        self.mid = Middle(widths[-1])
        self.norm_out, self.conv_out = Norm(widths[-1]), Conv(widths[-1], z, 3, padding=1)

    def forward(self, x):
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    def __init__(self, ch, ch_mult, res_blocks, z):
        super().__init__()
        widths, last = [ch * m for m in ch_mult], len(ch_mult) - 1
        self.conv_in, self.mid = Conv(z, widths[-1], 3, padding=1), Middle(widths[-1])
        self.up = nn.ModuleList(
            Level(widths[min(i + 1, last)], w, res_blocks + 1, **({"upsample": Upsample(w)} if i else {}))
            for i, w in enumerate(widths))
        self.norm_out, self.conv_out = Norm(widths[0]), Conv(widths[0], 3, 3, padding=1)

    def forward(self, z):
        x = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


def resize(x, side):
    """Plain bilinear in both directions (what the transformer loop does with the running sum)."""
    return x if x.shape[-1] == side else F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)


def shrink(x, side):
    """Area average (what the quantiser does with residuals)."""
    return x if x.shape[-1] == side else F.interpolate(x, size=(side, side), mode="area")


def quantize(x):
    """The signs of the normalised vector, on the unit sphere; gradients pass straight through."""
    x = F.normalize(x, dim=1)
    q = torch.where(x > 0, 1.0, -1.0) * x.shape[1] ** -0.5
    return x + (q - x).detach()


class Vae(nn.Module):
    def __init__(self, **config):
        super().__init__()
        self.encoder, self.decoder = Encoder(**(config or DEMO)), Decoder(**(config or DEMO))


def multi_scale(h, scales=SCALES):
    """Encoder output h [B,d,s,s] -> the running sums after every scale, and the bits [B,d,n,n] of every scale."""
    residual, total, sums, bits = h, torch.zeros_like(h), [], []
    for side in scales:
        q = quantize(shrink(residual, side))
        bits.append(q.detach() > 0)
        q = resize(q, h.shape[-1])
        residual, total = residual - q.detach(), total + q
        sums.append(total)
    return sums, bits


def load(path):
    """A frozen demo VAE from a released-format file."""
    vae = Vae()
    state = torch.load(path, weights_only=True)["vae"]
    vae.load_state_dict({k: v.float() for k, v in state.items()})
    return vae.eval().requires_grad_(False)


@torch.no_grad()
def encode(vae, pictures, batch=100):
    """uint8 [n,3,64,64] -> encoder output, float16 [n,16,8,8]."""
    out = []
    for part in pictures.split(batch):
        x = part.float() / 127.5 - 1
        with mixed():
            out.append(vae.encoder(x).half())
    return torch.cat(out)


@torch.no_grad()
def decode(vae, latents, batch=60):
    """Running sums [n,16,8,8] -> uint8 pictures, truncated as in the released program."""
    out = []
    for part in latents.split(batch):
        with mixed():
            y = vae.decoder(part.float())
        out.append(((y.float().clamp(-1, 1) + 1) * 127.5).to(torch.uint8))
    return torch.cat(out)
