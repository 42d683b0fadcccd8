# A snapshot in a DigitalOcean account, fit for its marketplace's image check. DigitalOcean has x86_64 only.

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

locals {
  # /dev/shm: nothing that Packer uploads may be left in the image, and /tmp is looked into.
  uploads = "/dev/shm"
  execute = "${var.become} env {{ .Vars }} sh {{ .Path }}"
  scripts = "${path.root}/../scripts"
}

build {
  sources = ["source.digitalocean.mailcow-ready"]

  provisioner "file" {
    source      = var.cowgate_pyz
    destination = "${local.uploads}/cowgate.pyz"
  }

  provisioner "file" {
    source      = var.policy
    destination = "${local.uploads}/policy.yaml"
  }

  provisioner "file" {
    source      = "${path.root}/../marketplace"
    destination = local.uploads
  }

  provisioner "shell" {
    remote_folder   = local.uploads
    execute_command = local.execute
    environment_vars = [
      "COWGATE_SHA256=${var.cowgate_sha256}",
      "MAILCOW_VERSION=${var.mailcow_version}",
      "ONBOARDING=${var.onboarding}",
    ]
    scripts = [
      "${local.scripts}/wait.sh",
      "${local.scripts}/install.sh",
      "${local.scripts}/build.sh",
      "${local.scripts}/pull.sh",
      "${local.scripts}/onboarding.sh",
    ]
  }

  provisioner "file" {
    direction   = "download"
    source      = "/var/lib/cowgate/readiness.json"
    destination = "${var.report_directory}/digitalocean.json"
  }

  provisioner "shell" {
    remote_folder   = local.uploads
    execute_command = local.execute
    scripts = [
      var.customize_script,
      "${local.scripts}/seal.sh",
    ]
  }

  provisioner "file" {
    direction   = "download"
    source      = "${local.uploads}/gate.json"
    destination = "${var.report_directory}/digitalocean-gate.json"
  }

  provisioner "shell" {
    remote_folder   = local.uploads
    execute_command = local.execute
    scripts         = ["${local.scripts}/gate.sh"]
  }

  # Only written when the gate passed.
  post-processor "manifest" {
    output     = "${var.report_directory}/manifest.json"
    strip_path = true
    custom_data = {
      verdict        = "passed"
      report         = "digitalocean-gate.json"
      cowgate_sha256 = var.cowgate_sha256
    }
  }
}
