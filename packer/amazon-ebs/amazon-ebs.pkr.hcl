# An AMI in an account of AWS. Its user is no root: -var 'become=sudo -n'.

variable "access_key" {
  type        = string
  default     = env("AWS_ACCESS_KEY_ID")
  description = "By default the environment variable AWS_ACCESS_KEY_ID."
}

variable "secret_key" {
  type        = string
  default     = env("AWS_SECRET_ACCESS_KEY")
  sensitive   = true
  description = "By default the environment variable AWS_SECRET_ACCESS_KEY."
}

variable "region" {
  type        = string
  default     = "eu-central-1"
  description = "Where the image is made."
}

variable "instance_type" {
  type        = string
  default     = ""
  description = "Empty: a small one of the architecture."
}

variable "base_owner" {
  type        = string
  default     = "136693071363"
  description = "Whose image to start from: Debian."
}

variable "base_image" {
  type        = string
  default     = "debian-13"
  description = "The name of the image to start from, without architecture and date."
}

variable "ssh_username" {
  type        = string
  default     = "admin"
  description = "The user of the image to start from."
}

# Instance types as of November 2026.
source "amazon-ebs" "mailcow-ready" {
  access_key    = var.access_key
  secret_key    = var.secret_key
  region        = var.region
  instance_type = var.instance_type != "" ? var.instance_type : (var.architecture == "arm64" ? "t4g.medium" : "t3.medium")
  ssh_username  = var.ssh_username
  ami_name      = "${var.snapshot_name}-${formatdate("YYYYMMDDhhmm", timestamp())}"
  source_ami_filter {
    owners      = [var.base_owner]
    most_recent = true
    filters = {
      name                = "${var.base_image}-${var.architecture == "arm64" ? "arm64" : "amd64"}-*"
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
  }
  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_size           = 20
    volume_type           = "gp2"
    delete_on_termination = true
  }
}

locals {
  # /dev/shm: nothing that Packer uploads may be left in the image, and /tmp is looked into.
  uploads = "/dev/shm"
  execute = "${var.become} env {{ .Vars }} sh {{ .Path }}"
  scripts = "${path.root}/../scripts"
}

build {
  sources = ["source.amazon-ebs.mailcow-ready"]

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
    destination = "${var.report_directory}/amazon-ebs.json"
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
    destination = "${var.report_directory}/amazon-ebs-gate.json"
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
      report         = "amazon-ebs-gate.json"
      cowgate_sha256 = var.cowgate_sha256
    }
  }
}
