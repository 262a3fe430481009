"""The latent verifier: the reward's image encoder without its first half, reading latents and hidden states, not pixels.

Its tokens go through the reward's own text encoder and head, so its predictions are on the reward's scale.
"""
import copy

import torch
import torch.nn.functional as F
from torch import nn

from bsq_vae import BITS, SCALES
from infinity import DEMO
from vit import VIT, VitBlock

BLOCKS = 2                              # the last blocks of the reward's image encoder


class LatentEncoder(nn.Module):
    """Latents and hidden states of unfinished images -> tokens like those of the finished images."""

    def __init__(self, width=VIT["dim"], heads=VIT["heads"], grid=VIT["grid"], blocks=BLOCKS, channels=BITS,
                 hidden=DEMO["dim"], scales=len(SCALES)):
        super().__init__()
        self.grid = grid
        self.latent_embed = nn.Linear(channels, width)
        self.hidden_norm = nn.LayerNorm(hidden, eps=1e-6)
        self.hidden_embed = nn.Linear(hidden, width, bias=False)
        self.scale_embed = nn.Embedding(scales, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, width))
        self.blocks = nn.ModuleList(VitBlock(width, heads, False) for _ in range(blocks))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        nn.init.zeros_(self.scale_embed.weight)
        nn.init.zeros_(self.hidden_embed.weight)

    def start_from(self, vit):
        """Takes class token, positions, the last blocks and the norm of the reward's image encoder."""
        with torch.no_grad():
            self.cls_token.copy_(vit.cls_token)
            self.pos_embed.copy_(vit.pos_embed)
        self.blocks = copy.deepcopy(vit.blocks[-len(self.blocks):])
        self.norm = copy.deepcopy(vit.norm)
        return self.requires_grad_(True)

    def forward(self, latents, hidden, scale):
        """Latents [B,channels,h,w] and hidden states [B,hidden,h,w] after `scale` -> tokens [B,1+grid*grid,width].

        Grids of another size are averaged or repeated.
        """
        x = self.latent_embed(self.cells(latents.float())) + self.scale_embed.weight[scale]
        hidden = self.hidden_norm(hidden.float().movedim(1, -1)).movedim(-1, 1)
        x = x + self.hidden_embed(self.cells(hidden))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def cells(self, x):
        """[B,C,h,w] -> [B,grid*grid,C]."""
        return F.adaptive_avg_pool2d(x, self.grid).flatten(2).transpose(1, 2)
