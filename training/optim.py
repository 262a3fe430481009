"""Muon for matrices and convolution kernels, AdamW for the rest, and an exponential moving average of the weights."""
import torch

from precision import fast_bfloat16


def newton_schulz(g, steps=4):
    """Nearly orthogonal matrices from g [n, rows, columns]; low precision is exact enough."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g / (g.norm(dim=(1, 2), keepdim=True) + 1e-7)
    x = x.bfloat16() if fast_bfloat16() else x
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    for _ in range(steps):
        y = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(y, y, y, beta=b, alpha=c), x, beta=a)
    return (x.transpose(1, 2) if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised; kernels count as [out, in * k * k] matrices, equal shapes are batched."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.01):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))
        self.groups = {}
        for p in self.param_groups[0]["params"]:
            self.groups.setdefault((p.shape[0], p[0].numel()), []).append(p)
        self.momenta = {shape: torch.zeros(len(ps), *shape) for shape, ps in self.groups.items()}

    @torch.no_grad()
    def step(self):
        group = self.param_groups[0]
        for shape, params in self.groups.items():
            grad = torch.stack([p.grad.reshape(shape) if p.grad is not None else torch.zeros(shape) for p in params])
            momentum = self.momenta[shape].lerp_(grad, 1 - group["momentum"])
            update = newton_schulz(grad.lerp(momentum, group["momentum"]))
            update *= 0.2 * max(shape) ** 0.5                   # the size of a typical AdamW update
            for p, d in zip(params, update):
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(d.reshape(p.shape), alpha=-group["lr"])


class Optimizers:
    """Muon and AdamW side by side with one learning-rate factor."""

    def __init__(self, model, lr_muon, lr_adam, is_muon):
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        muon, adam = [p for n, p in named if is_muon(n, p)], [p for n, p in named if not is_muon(n, p)]
        self.params = [p for _, p in named]
        self.both = [Muon(muon, lr_muon), torch.optim.AdamW(adam, lr=lr_adam, betas=(0.9, 0.98), weight_decay=0.0)]
        self.base = [lr_muon, lr_adam]

    def step(self, loss, factor, clip):
        """One update with both learning rates multiplied by `factor`; gradients clipped to the norm `clip`."""
        for optimizer in self.both:
            optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.params, clip)
        for optimizer, base in zip(self.both, self.base):
            optimizer.param_groups[0]["lr"] = base * factor
            optimizer.step()

    def state_dict(self):
        return {"muon": list(self.both[0].momenta.values()), "adam": self.both[1].state_dict()}

    def load_state_dict(self, state):
        for mine, saved in zip(self.both[0].momenta.values(), state["muon"]):
            mine.copy_(saved)
        self.both[1].load_state_dict(state["adam"])


class Ema:
    """Running average of a model's parameters."""

    def __init__(self, model, decay):
        self.model, self.decay, self.count = model, decay, 0
        self.average = [p.detach().clone() for p in model.parameters()]

    @torch.no_grad()
    def update(self):
        self.count += 1
        weight = 1 - min(self.decay, self.count / (self.count + 10))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.model.parameters()], weight)

    def state_dict(self):
        """The model's state dict with averaged parameters."""
        state = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        for (name, _), average in zip(self.model.named_parameters(), self.average):
            state[name] = average.clone()
        return state

    def __enter__(self):
        """Puts the average into the model for the length of a `with` block."""
        self.live = [p.detach().clone() for p in self.model.parameters()]
        self._fill(self.average)

    def __exit__(self, *_):
        self._fill(self.live)

    @torch.no_grad()
    def _fill(self, values):
        for p, value in zip(self.model.parameters(), values):
            p.copy_(value)


def trapezoid(step, steps, warmup, decay):
    """Learning-rate factor: linear up over `warmup` steps, flat, linear down to 1 % over the last `decay` steps."""
    return min(1.0, (step + 1) / warmup) * min(1.0, max(0.01, (steps - step) / decay))
