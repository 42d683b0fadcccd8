# A snapshot in a DigitalOcean account, fit for its marketplace's image check. DigitalOcean has x86_64 only.

locals {
  builder = "digitalocean"
}

variable "token" {
  type        = string
  default     = env("DIGITALOCEAN_TOKEN")
  sensitive   = true
  description = "API token; by default the environment variable DIGITALOCEAN_TOKEN."
}

variable "region" {
  type    = string
  default = "fra1"
}

variable "base_image" {
  type    = string
  default = "debian-13-x64"
}

variable "size" {
  type        = string
  default     = "s-1vcpu-1gb"
  description = "The smallest: a snapshot boots only on disks that are at least as large."
}

# Sizes as of November 2026.
source "digitalocean" "mailcow-ready" {
  api_token     = var.token
  region        = var.region
  image         = var.base_image
  size          = var.size
  ssh_username  = "root"
  snapshot_name = "${var.snapshot_name}-${formatdate("YYYYMMDDhhmm", timestamp())}"
}
